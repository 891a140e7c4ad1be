#!/usr/bin/env python3
"""A kwq worker with the standard library alone: python3 examples/worker.py (KWQ, KWQ_TOKEN from the environment).
Put your work into `work`: its value is the result, an exception a failed attempt. Drained, it leaves; at SIGTERM too,
after the task in hand and its report."""
import json, os, random, signal, socket, threading, time, urllib.request as web
KWQ = os.environ.get("KWQ", "http://127.0.0.1:8080") + "/kwq"
NAME = f"{socket.gethostname()}-{os.getpid()}-{random.randrange(1 << 24):06x}"
HEAD = {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ.get("KWQ_TOKEN", "none")}
stopping, held, lost, beat_s, done, answer = threading.Event(), set(), set(), 1.0, [], {"drain": False}
def work(payload, task):
    return {"length": len(payload if isinstance(payload, str) else json.dumps(payload))}
def call(method, path, body=None):  # repeats while the outcome is unknown or the server busy: tokens make that safe
    for _ in range(100):
        try:
            asked = web.Request(KWQ + path, body and json.dumps(body).encode(), HEAD, method=method)
            with web.urlopen(asked, timeout=40) as got:
                time.sleep(int(got.headers.get("Kwq-Poll-After-Ms") or 0) / 1000)
                return {"drain": got.headers.get("Kwq-Drain") == "true"} | json.loads(got.read() or b"{}")
        except OSError as error:
            if getattr(error, "code", 500) < 500 and error.code != 429:
                raise SystemExit(f"refused: {error.read().decode()}")
            time.sleep(float(getattr(error, "headers", {}).get("Retry-After") or 1) * (1 + random.random()))
    raise SystemExit("the server does not answer")
def beats():  # keeps the leases; what is lost or cancelled is not reported
    while not time.sleep(beat_s):
        if leases := list(held):
            beat = call("POST", "/heartbeat", {"worker": NAME, "leases": leases})
            lost.update(beat["lost"], (item["lease"] for item in beat["cancel"]))
def handle(task):
    try:
        return {"lease": task["lease"], "result": work(task.get("payload", ""), task)}
    except Exception as error:
        return {"type": "fail", "lease": task["lease"], "class": type(error).__name__[:64], "message": str(error)[:4096]}
def stop(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stopping.set()
    if not held:
        raise KeyboardInterrupt  # idle in a long poll: what may be on its way comes back by its lease
signal.signal(signal.SIGTERM, stop)
threading.Thread(target=beats, daemon=True).start()
try:
    while held.clear() or not (stopping.is_set() or answer["drain"]):
        answer = call("POST", "/consume", {"worker": NAME, "done": done})
        beat_s, tasks = answer.get("heartbeatMs", 10_000) / 1000, answer.get("tasks", [])
        held.update(task["lease"] for task in tasks)
        done = [report for report in map(handle, tasks) if report["lease"] not in lost]
except KeyboardInterrupt: pass
for report in done:  # one by one: it is the path that says what a report is, not its `type`
    call("POST", "/" + report.pop("type", "complete"), {"items": [report]})
call("DELETE", "/workers/" + NAME)
