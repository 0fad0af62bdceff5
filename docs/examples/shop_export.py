"""Writes orders.csv and products.csv: the export of a small shop, as a spreadsheet saves it."""

import random
from datetime import datetime, timedelta
from pathlib import Path

GROUPS = {
    "Küche > Töpfe": ("Topf", "Pfanne", "Kessel", "Wok"),
    "Garten > Werkzeug": ("Spaten", "Harke", "Schere", "Schlauch"),
    "Büro > Papier": ("Heft", "Block", "Lineal", "Mappe"),
}
PRODUCTS = [
    (f"{number:04}", f"{word} {size}", group)
    for number, (group, word, size) in enumerate(
        (group, word, size) for group, words in GROUPS.items() for word in words for size in range(1, 6)
    )
]
CUSTOMERS, ORDERS = 100, 3_000


def main() -> None:
    chance = random.Random(7)
    start = datetime(2026, 1, 1, 8)
    lines = ["Kunde;Artikel;Bestellt;Menge;Einzelpreis"]
    for number in range(ORDERS):
        customer = chance.randrange(CUSTOMERS)
        # two orders in three are of the customer's own group
        own = list(GROUPS)[customer % len(GROUPS)]
        article, _, _ = chance.choice([row for row in PRODUCTS if row[2] == own or chance.random() < 0.25])
        time = start + timedelta(minutes=97 * number)
        quantity = -1 if number % 50 == 49 else chance.randint(1, 3)
        price = f"{chance.randint(3, 90)},{chance.randrange(100):02}"
        lines.append(f"kunde-{customer:03};{article};{time:%d.%m.%Y %H:%M};{quantity};{price}")
    Path("orders.csv").write_text("\n".join(lines) + "\n", encoding="latin-1")
    products = ["Artikel;Name;Warengruppe", *(";".join(product) for product in PRODUCTS)]
    Path("products.csv").write_text("\n".join(products) + "\n", encoding="latin-1")


if __name__ == "__main__":
    main()
