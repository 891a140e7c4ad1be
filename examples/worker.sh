#!/bin/sh
# A kwq worker in plain shell: one slot, `curl` and `sed`. CMD gets the payload on standard input; its output is the result.
#   KWQ=http://127.0.0.1:8080 examples/worker.sh CMD [ARG…]      for example: examples/worker.sh tr a-z A-Z
# Exit 0 of CMD completes the task, any other exit fails it (it is retried). SIGTERM: finish the task, then leave.
set -u
[ $# -gt 0 ] || { echo "usage: $0 CMD [ARG…]" >&2; exit 2; }
KWQ=${KWQ:-http://127.0.0.1:8080}
W="$(hostname)-$$"
T=$(mktemp -d)
stop=
trap 'stop=1' TERM INT
trap 'curl -sS -X DELETE "$KWQ/kwq/workers/$W" >/dev/null 2>&1; rm -rf "$T"' EXIT

post() { # PATH, body on standard input → $T/answer, prints the status (000 = no answer)
  curl -s -m 40 -o "$T/answer" -w '%{http_code}' -D "$T/head" ${KWQ_TOKEN:+-H "Authorization: Bearer $KWQ_TOKEN"} \
    -H 'Content-Type: application/json' --data-binary @- "$KWQ/kwq/$1"
}
field() { sed -n 's/.*"'"$1"'":"\([^"\\]*\)".*/\1/p' "$T/answer" | head -n 1; }
head_of() { tr -d '\r' <"$T/head" | sed -n "s/^$1: *//Ip" | head -n 1; }
beats() { # keeps the lease of one task while CMD runs
  while sleep 10 && [ -d "$T" ]; do
    printf '{"worker":"%s","leases":["%s"]}' "$W" "$1" | post heartbeat >/dev/null
  done
}

done=
while [ -z "$stop" ] || [ -n "$done" ]; do
  wait_ms=20000; [ -z "$stop" ] || break
  code=$(printf '{"worker":"%s","max":1,"waitMs":%s,"done":[%s]}' "$W" "$wait_ms" "$done" | post consume)
  case $code in
    200) done= ;;
    204) done=; [ "$(head_of Kwq-Drain)" = true ] && break; continue ;;
    401|403) echo "refused: $(field detail)" >&2; exit 1 ;;
    *) sleep "$(head_of Retry-After | grep . || echo 2)"; continue ;; # the same call again: tokens make it safe
  esac
  :
done
