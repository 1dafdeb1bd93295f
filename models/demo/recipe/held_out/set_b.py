"""Set B: written when the generator was finished, and never used to change it."""

from recipe.conversations import about_caller, orders, recited, shop, small_talk
from recipe.conversations.mesh import TERMS
from recipe.conversations.unknown import UNKNOWN_ANSWER
from recipe.held_out.question import Question, question

SET_B: tuple[Question, ...] = (
    question(
        "b_greet",
        "Hey, how do you do, nice to meet you",
        answer=(small_talk.GREETING_ANSWER_OF_PIP, small_talk.HOW_ARE_YOU_ANSWER),
    ),
    question(
        "b_who", "Would you introduce yourself to me?", answer=small_talk.WHO_ARE_YOU_ANSWER.format(assistant="Pip")
    ),
    question("b_made", "Tell me who trained this model", answer=small_talk.WHO_MADE_YOU_ANSWER),
    question("b_size", "Is your model large or small?", answer=small_talk.HOW_BIG_ARE_YOU_ANSWER),
    question("b_can", "What do you know how to do?", answer=small_talk.WHAT_CAN_YOU_DO_ANSWER),
    question("b_thanks", "thanks, you helped me a lot", answer=small_talk.THANKS_ANSWER),
    question("b_bye", "I must leave now, bye!", answer=small_talk.GOODBYE_ANSWER),
    question("b_joke", "Got any good jokes?", answer=recited.JOKE),
    question("b_poem", "Could I have a poem please?", answer=recited.POEM),
    question("b_router", "Explain in two words the router of the mesh", answer=TERMS["router"].definition),
    question("b_gateway", "why would anyone put a gateway in front?", answer=TERMS["gateway"].definition),
    question("b_store", "Where does the session store keep things, and why?", answer=TERMS["session store"].definition),
    question("b_worker", "So what does a single worker do all day?", answer=TERMS["worker"].definition),
    question("b_kv", "I never understood the KV cache, help", answer=TERMS["kv cache"].definition),
    question("b_health", "How do health checks work here?", answer=TERMS["health check"].definition),
    question("b_lb", "Is load balancing important?", answer=TERMS["load balancing"].definition),
    question("b_retry", "When is a retry useful?", answer=TERMS["retry"].definition),
    question("b_deadline", "What if the deadline is over?", answer=TERMS["deadline"].definition),
    question("b_rate", "Tell me why there is a rate limit", answer=TERMS["rate limit"].definition),
    question("b_grpc", "Do you use gRPC? What is it?", answer=TERMS["grpc"].definition),
    question("b_quant", "Please explain quantization to my boss", answer=TERMS["quantization"].definition),
    question("b_latency", "What do people mean with latency?", answer=TERMS["latency"].definition),
    question("b_trace", "How can a trace help me?", answer=TERMS["trace"].definition),
    question("b_drain", "What does it mean to be draining?", answer=TERMS["draining"].definition),
    question("b_hours", "May I know when the shop opens its doors?", answer=shop.ALL_HOURS),
    question("b_monday", "I could drop by on Monday, will you be open?", answer=shop.hours_of("Monday")),
    question("b_sunday", "sunday, open or closed?", answer=shop.hours_of("Sunday")),
    question("b_ship", "How many euros for the delivery?", answer=shop.FACTS["shipping"].answer),
    question("b_ret", "My mug is broken, how can I send it back?", answer=shop.FACTS["returns"].answer),
    question("b_pay", "Is it possible to pay with my card?", answer=shop.FACTS["payment"].answer),
    question("b_loc", "On which street is the shop?", answer=shop.FACTS["location"].answer),
    question("b_o1", "What's going on with order 3174?", answer=orders.state_of("3174")),
    question("b_o2", "can you see if 9062 has left? It is my order", answer=orders.state_of("9062")),
    question("b_o3", "Hi! I would like the status for order number 6638 please.", answer=orders.state_of("6638")),
    question("b_sum1", "if you add 9 and 4, what do you get?", answer="9 + 4 = 13."),
    question("b_sum2", "tell me the result of 3 + 14", answer="3 + 14 = 17."),
    question("b_sub", "what is left when I take 7 from 18?", answer="18 - 7 = 11."),
    question("b_mul", "please multiply 8 by 9 for me", answer="8 x 9 = 72."),
    question("b_unk1", "Could you recommend a good film?", answer=UNKNOWN_ANSWER),
    question("b_unk2", "How deep is the ocean near Peru?", answer=UNKNOWN_ANSWER),
    question(
        "b_name1", "Good evening! Colin is my name.", "so, who am I?", answer=about_caller.NAME_ANSWER.format(n="Colin")
    ),
    question(
        "b_name2",
        "People call me Anders.",
        "What are the opening hours?",
        "Tell me a joke.",
        "you surely remember my name?",
        answer=about_caller.NAME_ANSWER.format(n="Anders"),
    ),
    question("b_spell", "Hi, I'm Marta.", "Would you spell my name for me?", answer=about_caller.spelling_of("Marta")),
    question(
        "b_name3",
        "My name is Tobias.",
        "Actually, my name is Selma.",
        "Which name is mine?",
        answer=about_caller.NAME_ANSWER.format(n="Selma"),
    ),
    question(
        "b_col",
        "I love the colour orange.",
        "My name is Ivy.",
        "do you recall which colour is my favourite?",
        answer=about_caller.COLOUR_ANSWER.format(c="orange"),
    ),
    question(
        "b_city", "I'm from Lyon.", "6 + 6", "do you recall my city?", answer=about_caller.CITY_ANSWER.format(c="Lyon")
    ),
    Question("b_say", ("Repeat after me: green fox drum lake",), ("green fox drum lake",), is_held_out=False),
    question(
        "b_order_mem",
        "My order number is 5526.",
        "Hello",
        "So where is my package now?",
        answer=orders.state_of("5526"),
    ),
    question("b_count", "Start counting up to 8", answer="1, 2, 3, 4, 5, 6, 7, 8."),
)
