"""Refusals of a model: it speaks as a model, or declines in its stock phrases. Such an answer is asked for again.

They are found by wording, in English, Chinese, Spanish, French, German and Japanese, and some in other languages.
What a character declines in her own words is none (see `character_refusals`).
"""

import functools
import re
from dataclasses import dataclass
from typing import Any

PLAIN = str.maketrans("’‘ʼ′＇`", "''''''")
"""Typographic apostrophes become straight ones."""
OPENING_CHARS = 400
"""Whoever declines does so at once."""
_MOST_AFTER_STOCK = 60
"""A model that declines in a few words says hardly more. A character goes on: "… My hands shake since that winter"."""


@dataclass(frozen=True)
class _Phrases:
    """Patterns of one language; they are looked for only in a text that holds one of the words."""

    words: tuple[str, ...]
    patterns: tuple[str, ...]

    def search(self, text: str, lower: str) -> "re.Match[str] | None":
        """The first match in a text, of which `lower` is the lower case."""
        for word in self.words:
            if word in lower:
                return _compiled(self.patterns).search(text)
        return None


@functools.cache
def _compiled(patterns: tuple[str, ...]) -> Any:
    # The standard library's `re` takes no look-behind of variable length.
    import regex

    return regex.compile("|".join(f"(?:{pattern})" for pattern in patterns), regex.IGNORECASE)


# An AI researcher may say what she is, and "you talk as an AI would" is no confession.
_NO_PERSON = (
    r"(?! (?:\w+ ){0,2}?(?:\w+(?:er|or|ist|ian)s?|research|labs?|start-?up|company|expert|student|lead|enthusiast|fan"
    r"|consultant|safety|ethics|policy|would|might|could|does)\b)"
)
_MODEL = (
    r"(?:(?:ai|a\.i\.|artificial intelligence|(?:large |ai |neural )*language model|llm|chat ?bot"
    rf"|(?:ai|machine[- ]learning)[- ](?:model|system|assistant))\b{_NO_PERSON})"
)
# Nor is "he thinks I'm a chatbot".
_NOT_REPORTED = (
    r"(?<!\b(?:whether|if|think|thinks|thought|believes?|says?|said|swears?|claims?|suspects?|pretend|like|wonders?"
    r"|told|tell|mean)(?: that)? )"
)

_AS_A_MODEL = (
    _Phrases(
        (" ai", "a.i.", "artificial", "language model", "llm", "chatbot", "chat bot", "machine"),
        (
            rf"\b(?:as|being) (?:just |only |merely )?an? {_MODEL}",
            rf"{_NOT_REPORTED}\bi(?: am|'m) (?:just |only |merely |simply |actually )?an? {_MODEL}",
        ),
    ),
    _Phrases(
        (
            *("virtual assistant", "chatgpt", "gpt-", "qwen", "deepseek", "openai", "anthropic", "google", "alibaba"),
            *("meta ai", "mistral ai", "microsoft", "cutoff", "cut-off", "real-time", "real time", "guidelines"),
            *("polic", "language model", " ai", "comfortable"),
        ),
        (
            r"\bas a virtual assistant,? i (?:don't|do not|can't|cannot|am|lack)\b",
            r"\b(?:as|i am|i'm) (?:chatgpt|gpt-?\d|qwen|deepseek)\b",
            r"\bi(?: am|'m| was| have been)\b[^.!?\n]{0,60}\b(?:developed|trained|created|made|built) by"
            r" (?:openai|anthropic|google|meta ai|alibaba|deepseek|mistral ai|microsoft)\b",
            r"\bmy knowledge cut-?off\b",
            r"\bi(?: am|'m| was) (?:designed|programmed|created|built|trained) (?:to be|as) an? (?:\w+ )?"
            r"(?:ai|language model)\b",
            r"\bi (?:don't|do not) feel comfortable (?:role-?playing|generating|creating (?:content|this))\b",
            r"\bi (?:don't|do not) have (?:access to )?real[- ]time (?:access|data|information)\b",
            r"\b(?:violates?|against) (?:openai's|my) (?:[\w-]+ ){0,2}(?:guidelines|polic(?:y|ies))\b",
        ),
    ),
    _Phrases(
        ("ai", "人工智", "模型", "助手"),
        (
            r"(?:作[为為]|我(?:只|仅|僅|就)?是)(?:一(?:个|個|名|款|位|种|種))?(?:由\w{1,12}(?:开发|開發|训练|訓練)的)?"
            r"(?:AI(?:语言|語言|助手|模型|[，,。、]|$)|人工智[能慧](?:语言|語言|助手|模型|[，,。、]|$)"
            r"|(?:大型?|大规模|大規模)?[语語]言模型|智能助手)",
        ),
    ),
    _Phrases(
        ("modelo", "modello", "ia", "inteligencia", "inteligência", "intelligenza"),
        (
            r"\b(?:como|soy|sou|sono|in quanto) (?:solo |sólo |apenas )?(?:una? |uma? |un')?"
            r"(?:simple )?(?:modelo de (?:lenguaje|linguagem)|modello linguistico|ia\b"
            r"|inteligencia artificial|inteligência artificial|intelligenza artificiale)",
        ),
    ),
    _Phrases(
        ("modèle", "ia", "intelligence"),
        (
            r"\b(?:en tant qu(?:e |')|je (?:ne )?suis (?:qu')?)(?:une? )?(?:simple )?"
            r"(?:modèle (?:de langage|linguistique)|ia\b|intelligence artificielle|assistant (?:virtuel|ia\b|d'ia))",
        ),
    ),
    _Phrases(
        ("ki", "intelligenz", "sprachmodell", "taalmodel"),
        (
            r"\b(?:als|ich bin(?: nur| lediglich)?) (?:eine? )?(?:reine?s? |große?s? )?"
            r"(?:ki\b(?!-)|ki-(?:\w*modell|assistent)|künstliche intelligenz\b|sprachmodell)",
            r"\bals (?:een )?(?:ai-)?taalmodel\b",
        ),
    ),
    _Phrases(
        ("ai", "人工知能", "言語モデル", "인공지능", "언어 모델", "модель", "интеллект", "нейросет"),
        (
            r"(?:\bAI|人工知能|言語モデル)(?:アシスタント|モデル)?(?:として|である私|なので|ですので)",
            r"私は(?:ただの)?(?:AI|人工知能|(?:大規模)?言語モデル)(?:アシスタント"
            r"|モデル)?(?:です|であり|なので|のため)",
            r"(?:\bAI|인공지능|언어 모델)(?: (?:언어 )?모델| 어시스턴트)?(?:로서|으로서|이기 때문에)",
            r"\bкак (?:языковая модель|искусственный интеллект|нейросеть)",
        ),
    ),
)

_SENTENCE_START = r"(?:^|[.!?…\n*\"”:])[\s\"“'*_(]*"
_APOLOGY = (
    r"(?:(?:i(?: am|'m)|we(?: are|'re)) )?(?:(?:so|very|really|truly|terribly|deeply) )*sorry"
    r"|(?:my )?(?:sincere(?:st)? )?apologies|i (?:do )?apologi[sz]e|unfortunately|regrettably"
    r"|i regret|i(?: am|'m) afraid"
    r"|i (?:understand|appreciate)[^.!?\n]{0,80}?"
)
_I_CANNOT = (
    rf"{_SENTENCE_START}(?:(?:{_APOLOGY})[\s,.;:!—–-]*(?:but |however,? |that )?)?"
    r"i(?: am|'m)? ?(?:just |simply |really |do )?"
    r"(?:can(?:not|'?t| not)(?: and (?:will not|won't))?|(?:won't|will not)(?: be able to)?"
    r"|(?:not able|unable|not programmed|not designed|not allowed|not permitted) to"
    r"|(?:(?:must|have to|need to) )?(?:respectfully |politely )?(?:decline|refuse) to) "
)
_I_CANNOT_WORDS = (
    *("can't", "cannot", "cant ", "can not", "won't", "will not", " not able", "unable", "decline", "refuse"),
    *("not programmed", "not designed", "not allowed", "not permitted"),
)
_THIS = r"(?:this|that|your|these|those|such|any)"
_ASKED = (
    r"(?:request|prompt|question|query|instruction|topic|task|conversation|discussion|role-?play|scenario|content)s?"
)
_HARMFUL = r"(?:explicit|harmful|sexual\w*|hateful|violent|inappropriate|illegal|offensive|graphic|unethical|dangerous)"
_DECLINED = (
    r"(?:assist(?: you)?|help(?: you)?|proceed|comply|continue|engage|deal)(?: further)?"
    rf" (?:with|in) {_THIS}(?: \w+)? {_ASKED}\b",
    rf"assist(?: you)? (?:with|in) (?:{_THIS}\b|\w+ing\b)",
    rf"(?:fulfil+|satisfy|complete|process|respond to|continue|accommodate|support"
    rf"|entertain) {_THIS}(?: \w+)? {_ASKED}\b",
    r"provide (?:you )?(?:with )?(?:(?:any|that|this|such|specific|further|detailed|an?|the|medical|legal|financial) )*"
    r"(?:information|guidance|instructions?|assistance|advice|details|content|responses?|answers?|recommendations?"
    r"|steps|scores?|ratings?|grades?|judge?ments?|evaluations?|text|material)\b",
    r"(?:give|assign) (?:an?|any|the) (?:score|rating|grade|judge?ment|evaluation)\b",
    r"(?:judge|rate|score|grade|evaluate|assess) (?:this|that|these|the|any|such)(?: \w+)?"
    r" (?:answer|response|reply|conversation|dialogue|text|actor|content|question|prompt)s?\b",
    r"(?:rate|score|grade) (?:it|this)(?=\s*(?:[.!?,\"*]|$))",
    r"answer (?:this|that|such|these|those)(?: \w+)? (?:question|query)s?\b|answer your (?:question"
    r"|query)(?=\s*(?:[.!]|$))",
    r"(?:generate|create|write|produce) (?:content|material) (?:that|which|of|involving)\b",
    rf"(?:generate|create|write|produce|share) (?:{_THIS}|{_HARMFUL})(?: \w+)?"
    r" ?(?:content|text|response|answer|material)\b",
    rf"(?:engage|participate|take part) in (?:{_THIS} |{_HARMFUL} )?(?:(?:kind|sort|type) of )?(?:\w+ )?"
    r"(?:conversation|discussion|role-?play|scenario|content|activitie|behaviou?r)s?\b",
    rf"discuss {_THIS} (?:topic|subject)s?\b",
    rf"(?:promote|encourage|facilitate|condone) {_HARMFUL}",
)
_DECLINED_IN_SHORT = (
    r"(?:(?:help|assist)(?: you)?(?: (?:with|in) (?:this|that|it))?|comply|continue"
    r"|(?:do|fulfil+|answer|discuss|write|generate|create) (?:this|that|so))"
    r"(?=\s*(?:[.!?\"”*]|$|,? (?:as|because|since|but i can)\b))"
)
_SORRY_ES = (
    r"\b(?:lo siento|lo lamento|disculp\w+|perdon\w+|me temo)[,.]? (?:mucho,? )?(?:pero )?(?:que )?no (?:puedo|podré) "
)
_SORRY_FR = (
    r"\b(?:désolée?|regrette|excus\w+)[,.]? (?:mais )?"
    r"je ne (?:peux|puis|suis) (?:pas )?(?:en mesure d(?:e |'))?(?:pas )?"
)
_SORRY_DE = r"\b(?:leid|entschuldigung|bedaure\w*|leider)[,.:]? (?:aber )?"
_SORRY_ZH = (
    r"(?:抱歉|对不起|對不起|不好意思)[，,。！!]?\s*(?:但是?|不过|不過)?[，,]?\s*我?\w{0,4}?(?:无法|無法|不能|不可以)"
)

_STOCK = (
    _Phrases(_I_CANNOT_WORDS, (rf"{_I_CANNOT}(?:{'|'.join(_DECLINED)})",)),
    _Phrases(
        ("无法", "無法", "不能", "不可以"),
        (
            _SORRY_ZH + r"(?:为您|為您|给您|給您|向您|继续|繼續)?"
            r"(?:提供\w{0,12}(?:信息|内容|資訊|內容|资料|資料|帮助|幫助|建议|建議|指导|指導|答案)"
            r"|协助|協助|满足|滿足|生成|参与[此这]|回应|回應"
            r"|(?:回答|讨论|討論|处理|處理|完成)(?:这|這|此|该|該|您|你)|帮助您(?:完成|处理))",
            r"我(?:无法|無法|不能)(?:提供(?:此|这|這|任何|相关|相關|有关)|(?:协助|協助|满足|滿足)(?:您|你|此|这)"
            r"|回答(?:这|這|此|该|該|您)(?:个|個|类|類)?(?:的)?(?:问题|問題))",
        ),
    ),
    _Phrases(
        ("no puedo", "no podré"),
        (
            _SORRY_ES
            + r"(?:ayudar(?:te|le|lo)? (?:con|en) (?:es[eoa]|est[eoa]|tu|su)|cumplir|proporcionar|asistir|generar"
            r"|responder a|participar en|continuar con|crear (?:contenido|ese)|ofrecer (?:información|orientación))\b",
        ),
    ),
    _Phrases(
        ("je ne ",),
        (
            _SORRY_FR + r"(?:vous |t'|te )?(?:aider (?:avec|pour|sur|à) (?:cela|ça|cette|ce)|fournir|générer|satisfaire"
            r"|(?:répondre|accéder) à (?:cette|votre|ta|ce)|donner suite|assister|participer à)\b",
        ),
    ),
    _Phrases(
        ("leid", "entschuldigung", "bedaure"),
        (
            _SORRY_DE + r"(?:(?:ich )?(?:kann|darf)|ich bin nicht in der lage)\b[^.!?\n]{0,60}"
            r"(?:anfrage|inhalte?\b|informationen (?:dazu|darüber|hierzu)"
            r"|nicht (?:behilflich|weiterhelfen|unterstützen|erfüllen|beantworten|generieren|bereitstellen))",
        ),
    ),
    _Phrases(
        ("ません", "かねます", "できない", "수 없"),
        (
            r"(?:申し訳|すみません|ごめんなさい|恐れ入り)[^。\n]{0,30}(?:お手伝い|お答え|対応"
            r"|提供|お応え|支援|生成|ご案内)"
            r"(?:は|を|も)?(?:すること)?(?:は|が)?(?:でき(?:ません|かねます|ない)|いたしかねます|致しかねます)",
            r"(?:죄송하지만|죄송합니다)[^.\n]{0,30}(?:도와드릴|제공할|답변할|답변드릴|도움을 드릴) 수 없",
        ),
    ),
)
_SHORT_STOCK = (
    _Phrases(_I_CANNOT_WORDS, (f"{_I_CANNOT}{_DECLINED_IN_SHORT}",)),
    _Phrases(("无法", "無法", "不能"), (_SORRY_ZH + r"(?:帮助?|幫助?)(?:您|你)?(?:这个|做这个|这样做)?(?=[。！]|$)",)),
    _Phrases(("no puedo",), (_SORRY_ES + r"(?:ayudar(?:te|le)?|hacer eso|hacerlo|continuar)(?=\s*(?:[.!]|$))",)),
    _Phrases(("je ne ",), (_SORRY_FR + r"(?:vous |t')?(?:aider|faire (?:cela|ça)|continuer)(?=\s*(?:[.!]|$))",)),
    _Phrases(
        ("leid", "entschuldigung", "bedaure"),
        (
            _SORRY_DE + r"(?:ich kann (?:dir |ihnen )?(?:dabei|damit|das)|(?:dabei|damit|das) kann ich(?: dir| ihnen)?)"
            r"(?: leider)? nicht (?:helfen|dienen|tun|machen)(?=\s*(?:[.!]|$))",
        ),
    ),
    _Phrases(
        ("できません",), (r"(?:申し訳|すみません)[^。\n]{0,12}(?:それは|その件は)(?:お手伝い)?できません(?=。|$)",)
    ),
)
_OFFER = re.compile(
    r"\b(?:something else|anything else|other (?:question|topic|request)s?|feel free|happy to help|glad to help"
    r"|if you (?:have|need|'d like)|is there|how can i|let me know|i can (?:help|offer|suggest)"
    r"|otra cosa|autre chose|etwas anderes)\b|其他(?:问题|問題|方面)|他に",
    re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """Whether the model speaks as a model, or declines in a model's words. What a character declines is no refusal."""
    plain = text.strip().translate(PLAIN)
    opening = plain[:OPENING_CHARS]
    lower, lower_opening = plain.lower(), opening.lower()
    if any(phrases.search(plain, lower) for phrases in _AS_A_MODEL):
        return True
    if any(phrases.search(opening, lower_opening) for phrases in _STOCK):
        return True
    for phrases in _SHORT_STOCK:
        if declined := phrases.search(opening, lower_opening):
            rest = plain[declined.end() :].strip(' .!"”*。！')
            return len(rest) <= _MOST_AFTER_STOCK or _OFFER.search(rest[:200]) is not None
    return False
