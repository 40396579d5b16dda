"""Events of a small program in an SQLite file: sqlite.py FILE ROWS SEED base|day"""
import random
import sqlite3
import sys

path, rows, seed, mode = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
rng = random.Random(seed)
kinds = ["login", "logout", "upload", "download", "share", "rename", "delete", "comment"]


def event(at):
    return (at, rng.choice(kinds), f"user{rng.randrange(5000)}",
            f'{{"ip":"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}","took":{rng.random():.4f},'
            f'"file":"/data/{rng.randrange(1 << 32):08x}.bin"}}')


db = sqlite3.connect(path)
if mode == "base":
    db.execute("CREATE TABLE event (id INTEGER PRIMARY KEY, at INTEGER, kind TEXT, who TEXT, detail TEXT)")
    db.execute("CREATE INDEX event_who ON event (who, at)")
    db.executemany("INSERT INTO event (at, kind, who, detail) VALUES (?,?,?,?)",
                   (event(1_700_000_000 + 5 * i) for i in range(rows)))
else:
    db.executemany("INSERT INTO event (at, kind, who, detail) VALUES (?,?,?,?)",
                   (event(1_760_000_000 + 86_400 * seed + i) for i in range(rows // 500)))
    db.execute("DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?)", (rows // 1000,))
    for _ in range(rows // 10000):
        db.execute("UPDATE event SET kind = 'seen' WHERE id = ?", (rng.randrange(1, rows),))
db.commit()
db.close()
