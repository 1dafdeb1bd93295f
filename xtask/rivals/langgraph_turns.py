"""Runs turns of conversations with LangGraph and its PostgreSQL checkpointer; prints what it measured as one line of JSON.

For `cargo xtask bench sessions`. The graph is the smallest one that keeps a conversation: one node, which appends an
answer of fixed length. Callers run one conversation of TURNS turns after the other without pauses, as `session-load turns --callers` does.

Without `--shared` every caller has a checkpointer and a connection of its own, and there is a process for each core: one
checkpointer lets one call through at a time, and one interpreter runs one thread at a time. With it they share one of each, on a
pool of connections, as the documentation shows it.
"""

import argparse
import json
import multiprocessing
import os
import random
import threading
import time
import uuid
from importlib.metadata import version

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from psycopg import Connection
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

# Letters by chance, so that no database makes them shorter than people's words.
WORDS = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz      ", k=1 << 16))
# As PostgresSaver.from_conn_string connects.
CONNECTED = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}


class Told:
    """What one caller measured."""

    def __init__(self):
        self.times, self.done = [], 0


def words(count):
    begin = random.randrange(len(WORDS) - count)
    return WORDS[begin : begin + count]


def answer(_state):
    return {"messages": [AIMessage(words(1000))]}


def graph(saver):
    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=saver)


def call(compiled, place, arguments, told):
    """One caller. Places begin at different turns of their conversations, as those of `session-load` do."""
    of_one = f"{uuid.uuid4()}-{place}"
    step = 0
    while (begin := time.monotonic()) < arguments.end:
        thread = f"{of_one}-{(step + place % arguments.turns) // arguments.turns}"
        config = {"configurable": {"thread_id": thread}}
        compiled.invoke({"messages": [HumanMessage(words(500))]}, config, durability=arguments.durability)
        if begin >= arguments.begin:
            told.times.append(time.monotonic() - begin)
        step += 1
        told.done += 1


def run(number, arguments, results):
    """One process, with every so many-th place."""
    places = range(number, arguments.callers, arguments.processes)
    told, threads = [Told() for _ in places], []
    if arguments.shared:
        pool = ConnectionPool(arguments.url, min_size=len(places), max_size=len(places), kwargs=CONNECTED, open=True)
        pool.wait()
        compiled = graph(PostgresSaver(pool))
    for place, own in zip(places, told):
        if not arguments.shared:
            compiled = graph(PostgresSaver(Connection.connect(arguments.url, **CONNECTED)))
        threads.append(threading.Thread(target=call, args=(compiled, place, arguments, own)))
    # A caller that fails ends all of it: what is left would measure less than was asked for.
    threading.excepthook = lambda told: (threading.__excepthook__(told), os._exit(1))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put((told, time.process_time()))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--warm", type=float, default=2)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--durability", choices=["async", "sync", "exit"], default="async")
    parser.add_argument("--shared", action="store_true")
    arguments = parser.parse_args()
    arguments.processes = 1 if arguments.shared else os.cpu_count()
    with PostgresSaver.from_conn_string(arguments.url) as saver:
        saver.setup()
    # Processes need a while to start: all of them measure the same time.
    arguments.begin = time.monotonic() + 3 + arguments.warm
    arguments.end = arguments.begin + arguments.seconds
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=run, args=(number, arguments, results)) for number in range(arguments.processes)]
    for process in processes:
        process.start()
    measured = [results.get(timeout=arguments.warm + arguments.seconds + 60) for _ in processes]
    for process in processes:
        process.join()
    told = [one for callers, _ in measured for one in callers]
    times = sorted(time for one in told for time in one.times)
    at = lambda share: round(1e6 * times[min(int(len(times) * share), len(times) - 1)])
    print(
        json.dumps(
            {
                "version": version("langgraph-checkpoint-postgres"),
                "measured": len(times),
                "done": sum(one.done for one in told),
                "per_second": len(times) / arguments.seconds,
                "total_us": {"p50": at(0.5), "p99": at(0.99), "max": at(1.0)},
                "driver_cpu_seconds": sum(cpu for _, cpu in measured),
            }
        )
    )


if __name__ == "__main__":
    main()
