"""Hindi words about time, in Devanagari and as people write them in Latin letters, in English.

Pure: a list of words in, a list of English words and digits out. A word that is
not known stays as it is, so that whoever reads the result sees that it is not understood.
"""

import re
import unicodedata
from collections.abc import Mapping

#: English word (or digit) -> every spelling of it.
_SPELLINGS: Mapping[str, str] = {
    "today": "aaj aj आज",
    # "kal" is yesterday too; a call-back lies in the future.
    "tomorrow": "kal कल",
    "overmorrow": "parso parson parsoon parsu परसों परसो",
    "morning": "subah subha subeh suba savere sawere सुबह सवेरे",
    "afternoon": "dopahar dopehar dophar dupahar dopaher दोपहर",
    "evening": "shaam sham शाम",
    "night": "raat rat raath रात",
    "oclock": "baje bajhe bje baj बजे",
    "hours": "ghante ghanta ghanton ghnte ghantay घंटे घंटा घण्टे घण्टा घंटों घन्टे",
    "minutes": "minat mint minut minatt मिनट मिनिट",
    "days": "din dino dinon दिन दिनों",
    "weeks": "hafte hafta haftay हफ्ते हफ़्ते हफ्ता हफ़्ता सप्ताह",
    "later": "baad बाद",
    "between": "beech bich बीच",
    "next": "agle agla agli अगले अगला अगली",
    "date": "tarikh tareekh taarikh तारीख तारीख़",
    "se": "से",
    "mein": "mei में मे",
    "monday": "somvaar somwaar सोमवार",
    "tuesday": "mangalvaar mangalwaar manglwaar मंगलवार",
    "wednesday": "budhvaar budhwaar बुधवार",
    "thursday": "guruvaar guruwaar brihaspativaar veervaar गुरुवार गुरूवार बृहस्पतिवार वीरवार",
    "friday": "shukravaar shukrawaar sukravaar shukrwaar शुक्रवार",
    "saturday": "shanivaar shaniwaar sanivaar शनिवार",
    "sunday": "ravivaar raviwaar itvaar itwaar रविवार इतवार",
    "january": "janvari janwari जनवरी",
    "february": "farvari farwari फरवरी फ़रवरी",
    "march": "मार्च",
    "april": "aprail अप्रैल",
    "may": "मई",
    "june": "जून",
    "july": "julai जुलाई",
    "august": "agast अगस्त",
    "september": "sitambar सितंबर सितम्बर",
    "october": "aktubar अक्टूबर अक्तूबर",
    "november": "navambar नवंबर नवम्बर",
    "december": "disambar दिसंबर दिसम्बर",
    "1": "ek एक",
    "2": "दो",
    "3": "teen tin तीन",
    "4": "char chaar चार",
    "5": "paanch panch पांच पाँच",
    "6": "chhe chhah cheh chah छह छः छे",
    "7": "saat सात",
    "8": "aath ath आठ",
    "9": "nau नौ",
    "10": "das dus दस",
    "11": "gyarah gyara gyaarah ग्यारह",
    "12": "barah baarah bara बारह",
    "quarter-past": "sava sawa savaa सवा",
    "half-past": "sadhe saadhe sade saade साढ़े साढे",
    "quarter-to": "paune पौने",
    "1:30": "dedh dhed derh डेढ़ डेढ",
    "2:30": "dhai dhaai adhai ढाई अढ़ाई",
    "half": "aadhe aadha adhe adha आधे आधा",
    "ok": "theek thik accha acha achha ठीक अच्छा",
    "hai": "hain है हैं",
    # Said around a time, without changing it: left out.
    "": (
        "ko pe par ke ka ki karna karo kare karen karein kar kijiye kijiyega "
        "dena lena dijiye dijiyega mujhe mujhko humko hume aap aapko baat haan han "
        "ji jee tab phir fir fon "
        "को पे पर के का की करना करो करें करे कर कीजिए कीजिये कीजिएगा देना लेना "
        "दीजिए मुझे मुझको हमें आप बात हाँ हां जी फिर फोन फ़ोन कॉल काल"
    ),
}

_ENGLISH: Mapping[str, str] = {
    unicodedata.normalize("NFKC", word): english
    for english, spellings in _SPELLINGS.items()
    for word in spellings.split()
}

#: English too, or something else: a number only right before what is counted.
_NUMBERS_BEFORE: Mapping[str, str] = {"do": "2", "sat": "7"}
_COUNTED = frozenset({"oclock", "hours", "minutes", "days", "weeks"})


def in_english(words: list[str]) -> list[str]:
    """Word by word; words are lower case and NFKC."""
    found = [_ENGLISH.get(_with_long_day(word), word) for word in words]
    for place, word in enumerate(found[:-1]):
        after_fraction = place > 0 and found[place - 1] == "half-past"
        if word in _NUMBERS_BEFORE and (found[place + 1] in _COUNTED or after_fraction):
            found[place] = _NUMBERS_BEFORE[word]
    if found != words:
        # In English a Sunday; between Hindi words: "listen".
        found = ["listen" if word == "sun" else word for word in found]
    return [word for word in found if word]


def _with_long_day(word: str) -> str:
    """somwar, somvar, somwaar: days of the week end in a dozen ways."""
    return re.sub(r"(?<=[a-z]{2})([vw])aa?r$", r"\1aar", word)
