#!/usr/bin/env python3
"""A kwq worker with the standard library alone: python3 examples/worker.py (KWQ, KWQ_TOKEN from the environment).
Put your work into `work`: its value is the result, an exception a failed attempt. SIGTERM: finish, report, leave."""
import json, os, random, signal, socket, threading, time, urllib.error, urllib.request as web
KWQ = os.environ.get("KWQ", "http://127.0.0.1:8080") + "/kwq"
NAME = f"{socket.gethostname()}-{os.getpid()}-{random.randrange(1 << 24):06x}"
HEAD = {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ.get("KWQ_TOKEN", "none")}
stopping, held, lost, beat_s, done = threading.Event(), set(), set(), 10.0, []
def work(payload, task):
    return {"length": len(payload if isinstance(payload, str) else json.dumps(payload))}
def call(method, path, body=None):  # repeats while the outcome is unknown or the server busy: tokens make that safe
    for _ in range(100):
        try:
            asked = web.Request(KWQ + path, body and json.dumps(body).encode(), HEAD, method=method)
            with web.urlopen(asked, timeout=40) as got:
                return {"drain": got.headers.get("Kwq-Drain") == "true", **json.loads(got.read() or b"{}")}
        except urllib.error.HTTPError as error:
            if error.code != 429 and error.code < 500:
                raise SystemExit(f"refused: {error.read().decode()}")
            time.sleep(float(error.headers.get("Retry-After") or 1) * (1 + random.random()))
        except OSError:
            time.sleep(1 + random.random())
    raise SystemExit("the server does not answer")
def beats():  # keeps the lease of a long task; what is lost or cancelled is not reported
    while not time.sleep(beat_s):
        if leases := list(held):
            answer = call("POST", "/heartbeat", {"worker": NAME, "leases": leases})
            lost.update(answer["lost"], (item["lease"] for item in answer["cancel"]))
def handle(task):
    held.add(lease := task["lease"])
    try:
        report = {"lease": lease, "result": work(task.get("payload", ""), task)}
    except Exception as error:
        report = {"type": "fail", "lease": lease, "class": type(error).__name__[:64], "message": str(error)[:4096]}
    held.discard(lease)
    return [] if lease in lost else [report]
def stop(*_):
    stopping.set()
    if not held:
        raise KeyboardInterrupt  # idle in a long poll: what may be on its way comes back by its lease
signal.signal(signal.SIGTERM, stop)
threading.Thread(target=beats, daemon=True).start()
try:
    while not stopping.is_set() and not (answer := call("POST", "/consume", {"worker": NAME, "done": done}))["drain"]:
        beat_s, done = answer.get("heartbeatMs", 10_000) / 1000, sum(map(handle, answer.get("tasks", [])), [])
except KeyboardInterrupt:
    pass
finally:
    done and call("POST", "/fail" if "type" in done[0] else "/complete", {"items": done})
    call("DELETE", "/workers/" + NAME)
