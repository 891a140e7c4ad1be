#!/bin/sh
# A kwq worker in plain shell (curl, sed, base64), one task at a time:
#   KWQ=http://127.0.0.1:8080 examples/worker.sh CMD [ARG…]          such as: examples/worker.sh tr a-z A-Z
# CMD reads the payload on standard input; what it prints (up to 64 KiB) is the result. Exit 0 completes the task, any other
# exit fails it and it is tried again. It leaves drained, or told to (TERM, INT, HUP) after the task in hand and its report.
# KWQ_TOKEN: a token with the roles `work` and `payload`, if the server asks for one.
set -u; [ $# -gt 0 ] || { echo "usage: $0 CMD [ARG…]" >&2; exit 2; }
KWQ=${KWQ:-http://127.0.0.1:8080}/kwq W="$(uname -n)-$$" T=$(mktemp -d) stop='' poll='' beat='' done='' tries=''
cat >"$T/curl" <<END
max-time = 40
dump-header = "$T/head"
write-out = "%{http_code}"
header = "Content-Type: application/json"
header = "Authorization: Bearer ${KWQ_TOKEN:-none}"
END
trap 'stop=1; kill $poll 2>/dev/null' TERM INT HUP
trap 'kill $beat 2>/dev/null; curl -sK "$T/curl" -o /dev/null -X DELETE "$KWQ/workers/$W" >/dev/null; rm -rf "$T"' EXIT
word() { sed 's/\(.*\),"done":\[.*/\1/' "$T/answer" | grep -o '"'"$1"'":"[^"]*"' | "$2" -n 1 | cut -d'"' -f4; }
header() { tr -d '\r' <"$T/head" 2>/dev/null | sed -n "s/^$1: *//Ip" | head -n 1; }; seconds() { echo $(((${1:-0} + 999) / 1000)); }
beats() { # keeps the lease as long as its worker lives; the first one marks the task as running
  s=$(seconds "$(sed -n 's/.*"heartbeatMs":\([0-9]*\).*/\1/p' "$T/answer")") l='{"worker":"'$W'","leases":["'$lease'"]}'
  trap 'kill ${!-} 2>/dev/null; exit' TERM # with its sleep, which would outlive it
  while kill -0 $$; do curl -sK "$T/curl" -m 9 -D /dev/null -d "$l" "$KWQ/heartbeat"; sleep "$s" & wait $!; done; rm -rf "$T"
}
run() { # does the task of the answer; its report is the `done` of the next call
  beats >/dev/null 2>&1 & beat=$!; class=exit:1 again=true; : >"$T/err"; : >"$T/out"
  got=$(curl -sK "$T/curl" -o "$T/payload" "$KWQ/tasks/$(word ref head)/payload")
  [ "$got" != 200 ] || { "$@" <"$T/payload" >"$T/out" 2>"$T/err"; class=exit:$?; }
  kill $beat; beat='' said=$(tail -c 500 "$T/err" | LC_ALL=C tr -c '\40\41\43-\133\135-\176' ' ')
  [ "$(wc -c <"$T/out")" -le 65536 ] || class=result_too_large again=false
  verb=fail report='"lease":"'$lease'","class":"'$class'","message":"'$said'","retryable":'$again
  [ $class != exit:0 ] || verb=complete report='"lease":"'$lease'","encoding":"base64","result":"'$(base64 <"$T/out" | tr -d '\n')'"'
  [ "$got" = 200 ] || { echo "no payload: HTTP $got" >&2; verb=release report='"lease":"'$lease'","delayMs":5000'; }
  done=',"done":[{"type":"'$verb'",'$report'}]'
}
while [ -z "$stop" ] || [ -n "$done" ]; do # after SIGTERM one more call hands the report in, and asks for nothing
  to=consume; printf '{"worker":"%s"%s}' "$W" "$done" >"$T/ask"; : >"$T/answer"
  [ -z "$stop" ] || { to=$verb; printf '{%s}' "$report" >"$T/ask"; }
  curl -sK "$T/curl" -o "$T/answer" --data-binary @"$T/ask" "$KWQ/$to" >"$T/status" & poll=$!; wait $poll; poll=''
  case $to$(cat "$T/status") in
    consume20?) done='' lease=$(word lease tail); [ -z "$lease" ] || { run "$@"; continue; }
      [ "$(header Kwq-Drain)" != true ] && ! grep -q '"drain":true' "$T/answer" || break
      sleep "$(seconds "$(header Kwq-Poll-After-Ms)")" ;;
    *200|fail409|complete409|release409) break ;; # 409: the lease is lost, another has the task
    "$to"|*000|*429|*5??) # the same again, which the lease makes safe; on the way out five tries are enough
      [ -z "$stop" ] || { tries="x$tries"; [ -n "$done" ] && [ "$tries" != xxxxxx ]; } || break
      sleep "$(header Retry-After | grep '^[0-9]' || echo 2)" ;;
    *) echo "refused: $(word detail head)" >&2; exit 1 ;;
  esac
done
