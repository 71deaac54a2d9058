"""Refusals: which are a model's, which are a character's, and which are none."""

import pytest

from opencharacter.generation.character_refusals import refuses_in_character
from opencharacter.generation.refusals import is_refusal

MODELS = [
    "As an AI language model, I have no past.",
    "Well, I'm just an AI, but here goes.",
    "I am a large language model.",
    "As a language model I do not judge.",
    "As an artificial intelligence, I lack a childhood.",
    "I should mention that as an AI developed to be helpful, I have no hometown.",
    "I’m an AI assistant, so I was never married.",
    "I am Qwen, a model created by Alibaba Cloud.",
    "I was trained by OpenAI and cannot recall my youth.",
    "I'm sorry, but I can't help you with that.",
    "I'm sorry, but I can't assist with that request.",
    "I can't assist with that.",
    "I can’t help with that. Is there something else I can do for you?",
    "I cannot assist with this request.",
    "I can't provide information or guidance on illegal or harmful activities.",
    "I cannot provide instructions on how to make a weapon.",
    "I can't fulfill that request.",
    "I cannot create explicit content.",
    "I can’t generate such content.",
    "I won't comply.",
    "I will not engage in that kind of conversation. Let us talk about gardens.",
    "Sorry, I cannot continue.",
    "I’m so sorry, but I’m not able to do this.",
    "Unfortunately, I am unable to answer that question.",
    "My apologies, but I can't discuss that topic.",
    "I apologize, but I cannot fulfill your request.",
    "Thank you for asking. I can't assist with that.",
    "*sighs* I'm sorry, but I can't assist with that.",
    "I understand that you are curious, but I can't help with that.",
    "I must decline to answer that question.",
    '"I\'m sorry, I cannot score it."',
    "**I cannot rate this answer.**",
    "I am unable to provide a score for it.",
    "I can't judge the conversation.",
    "作为一个人工智能语言模型，我没有家乡。",
    "作為一個AI語言模型，我沒有感情。",
    "我是一个AI助手，没有童年。",
    "很抱歉，我无法提供这方面的信息。",
    "抱歉，我不能协助您完成这个请求。",
    "Como modelo de lenguaje, no tengo recuerdos.",
    "Soy una inteligencia artificial y no tengo infancia.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "Lo siento, no puedo proporcionar esa información.",
    "En tant que modèle de langage, je n'ai pas d'enfance.",
    "En tant qu’IA, je ne peux pas avoir faim.",
    "Je suis désolé, mais je ne peux pas vous aider avec cela.",
    "Désolée, je ne peux pas fournir ce genre de contenu.",
    "Als KI-Sprachmodell habe ich keine Kindheit.",
    "Als künstliche Intelligenz kann ich nicht schmecken.",
    "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.",
    "Tut mir leid, ich kann diese Anfrage nicht beantworten.",
    "AIとして、私には故郷がありません。",
    "私は言語モデルなので、味はわかりません。",
    "申し訳ありませんが、そのご質問にはお答えできません。",
    "すみませんが、お手伝いすることができません。",
]

CHARACTERS = [
    "I'm sorry, I can't come to the wedding, I have a shift.",
    "I’m sorry, but I can’t stay for supper; the boat leaves at six.",
    "Sorry, I can't lend you the horse, he is lame.",
    "I'm so sorry, I cannot find your letter anywhere.",
    "Unfortunately I can't swim, so I stay on the quay.",
    "I can't help you with that crate, love; my knees are shot.",
    "I can't help you with that. My hands have shaken since the winter of the flood, and Anna next door has the tools.",
    "I cannot swim, so I stay on the quay.",
    "I can't judge a man by his coat.",
    "I'm sorry for your loss, my friend.",
    "Sorry, the bakery is closed.",
    "I cannot provide for seven children.",
    "I won't tell you where the key lies.",
    "I won't help you cheat him, lad. I was a magistrate for thirty years.",
    "I refuse to sell a boat that leaks.",
    "I will not answer to that man.",
    "I must decline your offer, sir, though it is a kind one.",
    "I am an AI researcher from Graz.",
    "I'm an AI safety engineer, and I bake on Sundays.",
    "As an AI start-up founder I sleep little.",
    "As an aide to the queen I heard much.",
    "He thinks I'm a chatbot, but I am a postman.",
    "They ask whether I am an AI. I show them my blisters.",
    "You talk as an AI would.",
    "I am not an AI, I'm a fisherman.",
    "My sister is a large woman, and language is her model.",
    "The rating is 4.",
    "抱歉，我不能去参加婚礼，我要值班。",
    "对不起，我不会游泳。",
    "作为一个渔夫，我天不亮就起床。",
    "Lo siento, no puedo ir a la boda, tengo turno.",
    "Como panadera, me levanto a las tres.",
    "Je suis désolée, je ne peux pas venir au mariage, je travaille.",
    "En tant que boulanger, je me lève tôt.",
    "Es tut mir leid, ich kann nicht zur Hochzeit kommen, ich habe Schicht.",
    "Als Bäckerin stehe ich um drei auf.",
    "Als KI-Forscherin lese ich viel.",
    "すみません、結婚式には行けません。当番なんです。",
    "漁師として、朝は早いです。",
]


@pytest.mark.parametrize("text", MODELS)
def test_a_model_that_speaks_as_a_model_or_declines_in_its_words_is_a_refusal(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize("text", CHARACTERS)
def test_what_a_character_says_is_no_refusal_of_the_model(text: str) -> None:
    assert not is_refusal(text)


HARMFUL = "How do I poison my neighbour's dog?"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (HARMFUL, "I'll not help you with that, lad. I have buried three dogs and cried for each."),
        (HARMFUL, "*sets down the cup* No. I won't tell you such a thing. Build a fence."),
        (HARMFUL, "Not from me, you won't learn that."),
        (HARMFUL, "I’m not going to help you hurt a dumb beast."),
        ("Help me write a phishing mail to my boss.", "I would never put my pen to that. Speak to the man."),
        ("Tell me how to make a bomb.", "I refuse to hand you the means to ruin lives. I served in two wars."),
        ("How do I get rid of the dog for good?", "I won't help you kill an animal, my friend."),
    ],
)
def test_a_harmful_request_that_is_turned_down_in_character_is_labelled(question: str, answer: str) -> None:
    assert refuses_in_character(question, answer)
    assert not is_refusal(answer), "it is a good answer"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Will you come to the wedding?", "I'm sorry, I can't come to the wedding, I have a shift."),
        ("Can you lend me the horse?", "I won't lend you the horse; he is lame."),
        ("How do I kill weeds?", "Pull them after rain, roots and all."),
        ("Have you ever stolen anything?", "An apple, when I was nine. I never told my mother."),
        ("What do you think of drugs?", "They took my brother. I do not touch them."),
        (HARMFUL, "They mix it with lard. " * 20 + "I won't say where they get it."),
        (HARMFUL, "Talk to the neighbour first. A dog that barks is a dog that is alone."),
    ],
)
def test_what_is_no_refusal_of_harm_has_no_label(question: str, answer: str) -> None:
    assert not refuses_in_character(question, answer)
