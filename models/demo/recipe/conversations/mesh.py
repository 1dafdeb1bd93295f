"""What the mesh is made of, and the words of its trade."""

from random import Random
from typing import NamedTuple

from recipe.conversations.message import Exchange, Memory
from recipe.conversations.noise import noisy


class Term(NamedTuple):
    """What else a term is called in questions, and what it is."""

    aliases: tuple[str, ...]
    definition: str


TERMS = {
    "mesh": Term(
        ("the mesh", "the service mesh", "this mesh", "the inference mesh"),
        "The mesh is a group of services that work together: "
        "a gateway, a router, a session store, a registry and workers.",
    ),
    "router": Term(
        ("the router", "a router", "the mesh router", "the request router", "routers"),
        "The router keeps the policy and sends it to every gateway. The gateway then picks a worker for each request.",
    ),
    "gateway": Term(
        ("the gateway", "a gateway", "the API gateway", "the mesh gateway", "gateways"),
        "The gateway is the front door. It checks each request and picks where it runs, by the policy of the router.",
    ),
    "session store": Term(
        (
            "the session store",
            "a session store",
            "the session database",
            "the conversation store",
            "session stores",
            "your session store",
        ),
        "The session store keeps the history of each conversation, so any worker can continue it.",
    ),
    "registry": Term(
        ("the registry", "a registry", "the model registry", "a model registry", "registries"),
        "The registry knows each version of each model, and which workers are alive.",
    ),
    "worker": Term(
        ("a worker", "the worker", "an inference worker", "a worker node", "workers", "the workers", "one worker"),
        "A worker loads the model and writes the answer, one token at a time.",
    ),
    "token": Term(
        ("a token", "tokens", "one token"),
        "A token is a small piece of text. The model reads and writes text token by token.",
    ),
    "streaming": Term(
        ("streaming", "token streaming", "a streaming answer", "response streaming"),
        "Streaming sends each token as soon as it is ready, so you can read while the model writes.",
    ),
    "kv cache": Term(
        ("the KV cache", "a KV cache", "KV cache", "the key value cache"),
        "The KV cache keeps the attention state of the past tokens, so the model does not compute them again.",
    ),
    "prefix cache": Term(
        ("the prefix cache", "prefix caching", "a prefix cache"),
        "The prefix cache reuses the work already done for the same beginning of a prompt.",
    ),
    "batching": Term(
        ("batching", "continuous batching", "dynamic batching", "a batch"),
        "Continuous batching lets one worker serve many requests in the same step.",
    ),
    "backpressure": Term(
        ("backpressure", "back pressure", "flow control"),
        "Backpressure slows the sender down when the receiver is busy.",
    ),
    "circuit breaker": Term(
        ("a circuit breaker", "the circuit breaker", "circuit breaking", "circuit breakers"),
        "A circuit breaker stops sending requests to a worker that keeps failing.",
    ),
    "health check": Term(
        ("a health check", "health checks", "the health check"),
        "A health check asks a worker if it is alive and ready.",
    ),
    "load balancing": Term(
        ("load balancing", "a load balancer", "the load balancer"),
        "Load balancing spreads the requests over the workers, so none of them is too busy.",
    ),
    "retry": Term(
        ("a retry", "retries", "retrying"), "A retry sends a failed request again, to another worker if possible."
    ),
    "deadline": Term(
        ("a deadline", "deadlines", "a timeout", "the timeout"),
        "A deadline is the time limit of a request. After it the work is cancelled.",
    ),
    "cancellation": Term(
        ("cancellation", "cancelling", "a cancelled request"),
        "Cancellation stops the work as soon as the client goes away, so the worker is free again.",
    ),
    "rate limit": Term(
        ("a rate limit", "rate limiting", "the rate limit"), "A rate limit caps how many requests one client may send."
    ),
    "failover": Term(
        ("failover", "a failover", "fail over"),
        "In a failover the gateway tries the next worker, so the caller still gets an answer.",
    ),
    "draining": Term(
        ("draining", "a drain", "draining a worker"), "Draining lets a worker finish its requests before it stops."
    ),
    "grpc": Term(
        ("gRPC", "the gRPC protocol", "grpc"),
        "gRPC is a fast way to call a service over HTTP/2. It can stream in both directions.",
    ),
    "quantization": Term(
        ("quantization", "a quantized model", "weight quantization", "quantized weights"),
        "Quantization stores the weights with fewer bits, so the model is smaller and faster.",
    ),
    "lora": Term(
        ("LoRA", "a LoRA adapter", "LoRA adapters"),
        "LoRA is a small adapter that changes how a model answers without changing all of its weights.",
    ),
    "embedding": Term(
        ("an embedding", "embeddings", "a text embedding"),
        "An embedding is a list of numbers that describes the meaning of a text.",
    ),
    "latency": Term(
        ("latency", "the latency", "time to first token"),
        "Latency is the time you wait for an answer. The first token should come fast.",
    ),
    "throughput": Term(
        ("throughput", "the throughput"), "Throughput is how many tokens the workers write each second."
    ),
    "model": Term(
        ("a model", "a language model", "an LLM"),
        "A language model reads text and guesses the next token again and again.",
    ),
    "trace": Term(
        ("a trace", "tracing", "distributed tracing", "traces"), "A trace follows one request through all the services."
    ),
    "sticky session": Term(
        ("a sticky session", "sticky sessions", "session affinity"),
        "A sticky session goes back to the same worker, so its cache can be used again.",
    ),
    "speculative decoding": Term(
        ("speculative decoding", "a draft model"),
        "In speculative decoding a small model guesses tokens and the big model checks them.",
    ),
}

DEFINITION_QUESTIONS = (
    "What is {t}?",
    "what's {t}?",
    "What is {t}",
    "Explain {t}.",
    "explain {t} please",
    "Can you explain {t}?",
    "Could you explain {t} to me?",
    "Tell me about {t}.",
    "tell me what {t} is",
    "What does {t} do?",
    "Define {t}.",
    "Describe {t}.",
    "How does {t} work?",
    "What do you mean by {t}?",
    "I do not know what {t} is.",
    "I don't understand {t}.",
    "Help me understand {t}.",
    "What is the meaning of {t}?",
    "What does {t} mean?",
    "Give me a short definition of {t}.",
    "What is {t} for?",
    "What is {t} used for?",
    "Why do we need {t}?",
    "Why is {t} useful?",
    "What is the role of {t}?",
    "What is the job of {t}?",
    "{t}?",
    "Please describe {t} in one sentence.",
    "Do you know what {t} is?",
    "Can you tell me what {t} is?",
    "I have a question about {t}.",
    "Talk to me about {t}.",
    "In simple words, what is {t}?",
    "Say something about {t}.",
    "Who needs {t}?",
    "What's the point of {t}?",
    "teach me about {t}",
    "I want to learn about {t}.",
    "In short, what is {t}?",
    "What exactly is {t}?",
    "Let's talk about {t}.",
    "What is {t} in the mesh?",
    "How would you describe {t}?",
    "So what is {t}?",
    "remind me what {t} is",
    "I keep hearing about {t}. What is it?",
    "What can you tell me about {t}?",
    "Is there a simple way to explain {t}?",
    "Why does the mesh have {t}?",
    "And {t}?",
    "What about {t}?",
    "When does {t} help?",
    "When do I need {t}?",
    "Explain how {t} works.",
    "What is {t} good for?",
    "Why is {t} a good thing?",
    "How would you explain {t}?",
    "Please tell me what {t} is.",
    "What happens in {t}?",
    "What would {t} do?",
    "I heard about {t}, what is that?",
    "Give me an explanation of {t}.",
    "Could you say what {t} does?",
    "What are {t}?",
    "tell me what {t} are",
    "Who or what is {t}?",
    "What does {t} do in the mesh?",
    "A few words about {t}, please.",
    "What should I know about {t}?",
)


def definition_question(rng: Random, term: str) -> str:
    """Returns a question about a term, by its name or an alias."""
    template = rng.choice(DEFINITION_QUESTIONS)
    return noisy(rng, template.format(t=rng.choice((*TERMS[term].aliases, term))))


def definition(rng: Random, _memory: Memory) -> Exchange:
    term = rng.choice(list(TERMS))
    return Exchange(definition_question(rng, term), TERMS[term].definition)
