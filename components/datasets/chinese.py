"""A synthetic dataset in Chinese: items and events of a small shop, without any real data."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from components.core.columns import Columns

SEED = 20240601
USERS = 60
END_TIMESTAMP = 1_717_200_000  # 2024-06-01 00:00 UTC
SECONDS_PER_DAY = 86_400
LONG_DAYS = 120
SHORT_DAYS = 5
LONG_VISITS = 15
SHORT_VISITS = 5

_GOODS: dict[str, tuple[str, ...]] = {
    "数码影音": ("降噪蓝牙耳机", "便携蓝牙音箱", "家用投影仪", "机械键盘"),
    "手机配件": ("快充充电宝", "磁吸手机壳", "车载手机支架", "编织数据线"),
    "咖啡茶饮": ("手冲咖啡豆", "云南普洱茶", "挂耳咖啡", "茉莉花茶"),
    "户外露营": ("双人露营帐篷", "折叠露营椅", "登山徒步鞋", "户外睡袋"),
    "母婴玩具": ("木质积木", "婴儿推车", "儿童绘本", "益智拼图"),
    "厨房家电": ("空气炸锅", "破壁豆浆机", "智能电饭煲", "不粘炒锅"),
    "美妆护肤": ("保湿面霜", "防晒喷雾", "氨基酸洗面奶", "哑光口红"),
    "宠物用品": ("全价猫粮", "自动饮水机", "狗狗牵引绳", "猫抓板"),
    "图书文具": ("科幻长篇小说", "历史通俗读本", "钢笔套装", "手账笔记本"),
    "居家收纳": ("真空收纳袋", "折叠衣物箱", "香薰蜡烛", "记忆棉枕头"),
}
_VARIANTS = (
    ("轻享款", "小巧轻便，日常使用很合适。"),
    ("家庭装", "全家共用，耐用又实惠。"),
    ("旗舰版", "用料讲究，送礼自用都体面。"),
)
_PRAISE = ("质量很好，值得回购", "包装精致，物流也快", "比想象中好用", "送给朋友，很喜欢")
_COMPLAINTS = ("和描述不太一样", "味道有点重，不喜欢", "用了两天就坏了")
_QUESTIONS = ("请问保修多久？", "这款有别的颜色吗？", "适合送长辈吗？")
_POSTS = ("分享一下我的使用心得", "周末开箱，推荐给大家", "用了一个月，来说说感受")


@dataclass
class _Shopper:
    user: str
    random: np.random.Generator
    rows: list[tuple[str, str, int, str, float | None, str | None]] = field(default_factory=list)

    def add(self, item: str, at: int, event: str, value: float | None = None, text: str | None = None) -> None:
        self.rows.append((self.user, item, at, event, value, text))

    def visit(self, item: str, at: int, is_interested: bool) -> None:
        """Adds a view and, if the user is interested, events further down the funnel; otherwise maybe a rejection."""
        self.add(item, at, "view")
        if not is_interested:
            if self.random.random() < 0.3:
                self._reject_item(item, at + 20)
        elif self.random.random() < 0.6:
            self.add(item, at + 15, "click")
            if self.random.random() < 0.45:
                self.add(item, at + 90, "cart")
                if self.random.random() < 0.6:
                    self.add(item, at + 300, "purchase")
                    self._give_feedback(item, at + 2 * 3600)

    def _give_feedback(self, item: str, at: int) -> None:
        match self.random.integers(5):
            case 0:
                self.add(item, at, "rating", float(self.random.integers(4, 6)))
            case 1:
                self.add(item, at, "review", 5.0, str(self.random.choice(_PRAISE)))
            case 2:
                self.add(item, at, "like")
            case 3:
                self.add(item, at, "comment", None, str(self.random.choice(_QUESTIONS)))
            case _:
                self.add(item, at, "post", None, str(self.random.choice(_POSTS)))

    def _reject_item(self, item: str, at: int) -> None:
        match self.random.integers(3):
            case 0:
                self.add(item, at, "dislike")
            case 1:
                self.add(item, at, "hide")
            case _:
                self.add(item, at, "review", 1.0, str(self.random.choice(_COMPLAINTS)))


def chinese_sample() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Generates (interactions, items) of a dataset folder; deterministic.

    Every user prefers two categories over LONG_DAYS (one visit in six is random), and a third one in the last
    SHORT_DAYS.
    """
    items = _items()
    by_category = {
        str(name): group[Columns.ITEM].tolist() for name, group in items.groupby(Columns.CATEGORY, sort=False)
    }
    random = np.random.default_rng(SEED)
    rows = [row for number in range(USERS) for row in _history(f"顾客{number + 1:03d}", by_category, random)]
    columns = [Columns.USER, Columns.ITEM, Columns.TIMESTAMP, Columns.EVENT, Columns.VALUE, Columns.TEXT]
    interactions = pd.DataFrame(rows, columns=columns).astype({Columns.VALUE: "float64"})
    return interactions.sort_values(Columns.TIMESTAMP, kind="stable", ignore_index=True), items


def _items() -> pd.DataFrame:
    rows = [
        (f"商品{number:03d}", f"{goods} {variant}", category, f"{goods}，属于{category}。{sentence}")
        for number, (category, goods, variant, sentence) in enumerate(
            (
                (category, goods, variant, sentence)
                for category, shelf in _GOODS.items()
                for goods in shelf
                for variant, sentence in _VARIANTS
            ),
            start=1,
        )
    ]
    return pd.DataFrame(rows, columns=[Columns.ITEM, Columns.TITLE, Columns.CATEGORY, Columns.DESCRIPTION])


def _history(
    user: str, by_category: dict[str, list[str]], random: np.random.Generator
) -> list[tuple[str, str, int, str, float | None, str | None]]:
    first, second, passing = random.choice(list(by_category), size=3, replace=False)
    anything = [item for shelf in by_category.values() for item in shelf]
    shopper = _Shopper(user, random)
    begin, middle = END_TIMESTAMP - LONG_DAYS * SECONDS_PER_DAY, END_TIMESTAMP - SHORT_DAYS * SECONDS_PER_DAY
    for at in np.sort(random.integers(begin, middle, LONG_VISITS)):
        is_interested = bool(random.random() < 5 / 6)
        shelf = by_category[first if random.random() < 0.6 else second] if is_interested else anything
        shopper.visit(str(random.choice(shelf)), int(at), is_interested)
    for at in np.sort(random.integers(middle, END_TIMESTAMP - 3 * 3600, SHORT_VISITS)):
        shopper.visit(str(random.choice(by_category[passing])), int(at), True)
    return shopper.rows
