#!/bin/sh
# A kwq worker in plain shell (curl, sed, base64), one task at a time:
#   KWQ=http://127.0.0.1:8080 examples/worker.sh CMD [ARG…]          such as: examples/worker.sh tr a-z A-Z
# CMD reads the payload on standard input; what it prints is the result. Exit 0 completes the task, any other exit
# fails it and it is tried again. SIGTERM: finish the task in hand, report it, leave. KWQ_TOKEN: the token, if needed.
set -u
[ $# -gt 0 ] || { echo "usage: $0 CMD [ARG…]" >&2; exit 2; }
KWQ=${KWQ:-http://127.0.0.1:8080}/kwq W="$(uname -n)-$$" T=$(mktemp -d) stop='' poll='' beat='' done='' tries=''
cat >"$T/curl" <<END
silent
max-time = 40
dump-header = "$T/head"
write-out = "%{http_code}"
header = "Content-Type: application/json"
${KWQ_TOKEN:+header = "Authorization: Bearer $KWQ_TOKEN"}
END
trap 'stop=1; kill $poll 2>/dev/null' TERM
trap 'kill $beat 2>/dev/null; curl -K "$T/curl" -o /dev/null -X DELETE "$KWQ/workers/$W" >/dev/null; rm -rf "$T"' EXIT
word() { sed 's/\(.*\),"done":\[.*/\1/' "$T/answer" | grep -o '"'"$1"'":"[^"]*"' | "$2" -n 1 | cut -d'"' -f4; }
header() { tr -d '\r' <"$T/head" 2>/dev/null | sed -n "s/^$1: *//Ip" | head -n 1; }
beats() { # keeps the lease; the first one marks the task as running
  while curl -s -m 9 -o /dev/null -H 'Content-Type: application/json' ${KWQ_TOKEN:+-H "Authorization: Bearer $KWQ_TOKEN"} \
    -d '{"worker":"'"$W"'","leases":["'"$1"'"]}' "$KWQ/heartbeat" || :; do sleep 10; done
}
run() { # does the task of the answer; its report is the `done` of the next call
  lease=$1; shift
  beats "$lease" & beat=$!
  curl -K "$T/curl" -o "$T/payload" "$KWQ/tasks/$(word ref head)/payload" >/dev/null
  "$@" <"$T/payload" >"$T/out" 2>"$T/err"; exit=$?; kill $beat; beat=
  if [ $exit = 0 ]; then
    done='{"lease":"'$lease'","encoding":"base64","result":"'$(base64 <"$T/out" | tr -d '\n')'"}'
  else
    said=$(tail -c 500 "$T/err" | tr -d '"\\' | tr -s '[:cntrl:]' ' ')
    done='{"type":"fail","lease":"'$lease'","class":"exit:'$exit'","message":"'$said'"}'
  fi
}
while [ -z "$stop" ] || [ -n "$done" ]; do # after SIGTERM one more call hands the report in, and asks for nothing
  to=consume; printf '{"worker":"%s","max":1,"done":[%s]}' "$W" "$done" >"$T/ask"
  [ -z "$stop" ] || { printf '{"items":[%s]}' "$done" >"$T/ask"; to=complete; case $done in '{"type"'*) to=fail ;; esac; }
  curl -K "$T/curl" -o "$T/answer" --data-binary @"$T/ask" "$KWQ/$to" >"$T/status" & poll=$!
  wait $poll; poll=
  case $(cat "$T/status") in # 000, 429, 5xx: the same call again; the lease makes that safe
    200) done=; [ $to = consume ] || break; l=$(word lease tail); [ -z "$l" ] || run "$l" "$@" ;;
    204) done=; [ "$(header Kwq-Drain)" != true ] || break ;;
    429|5??|000|'') [ -z "$stop" ] || [ -n "$done" ] || break # on the way out five tries are enough
      sleep "$(header Retry-After | grep '^[0-9]' || echo 2)"
      [ -z "$stop" ] || tries="x$tries"; [ "$tries" != xxxxx ] || break ;;
    *) echo "refused: $(word detail head)" >&2; exit 1 ;;
  esac
done
