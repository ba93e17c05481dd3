# 1 to 4: commands in the enclave.

1.1() {
  title 'what a command leaves behind arrives whole'
  run sls exec -q -- bash -c 'seq 200000 > >(gzip -9n)'
  ended 0
  err_is ''
  same "$(seq 200000 | sha256sum)" "$(gzip -d <out 2>&1 | sha256sum)" 'what was compressed there'
}

1.2() {
  title 'the same on a terminal, from what does not mind its hangup'
  run sls exec -q -t -- bash -c '(trap "" HUP; while kill -0 $$ 2>/dev/null; do sleep 0.1; done; echo late) & sleep 0; echo early' </dev/null
  ended 0
  same $'early\nlate' "$(tr -d '\r' <out)" 'the output'
}

1.3() {
  title '--detach ends with the command, and what it left goes on'
  run sls exec -q --detach -- sh -c '(until [ -e go ]; do sleep 0.1; done; echo nobody reads this; echo on >after) & echo early'
  ended 0
  out_is early
  err_is ''
  inside 'touch go'
  run sls exec -q -- sh -c 'until [ -s after ]; do sleep 0.1; done; cat after; rm go after'
  ended 0
  out_is on
}

# The command's number is in this file; waits there until it has ended.
gone() {
  run sls exec -q -- sh -c "while kill -0 \"\$(cat $1)\" 2>/dev/null; do sleep 0.1; done; rm $1"
  ended 0
}
# Of a client that could not give its seat back the next one does, by the enclave's word.
next_has_it() { inside true && no_seat_taken; }
no_seat_taken() { sls seats list --json | grep -q '"taken": 0\b'; }

2.1() {
  title 'a reader that has enough, as head has, ends command and seat'
  run_line 'sls exec -q -- sh -c "echo \$\$ >pid; exec yes" | head -1; exit "${PIPESTATUS[0]}"'
  ended 141
  out_is y
  err_is ''
  gone pid
  eventually 'no seat to be taken' no_seat_taken
}

2.2() {
  title 'a client that is killed ends its command, and the next one has its seat'
  sls exec -q -- sh -c 'echo $$ >pid; echo on; exec sleep 100000' >said 2>err &
  eventually 'the command to run' has_line said on
  kill -KILL $!
  wait $! 2>/dev/null
  gone pid
  eventually 'no seat to be taken' next_has_it
}

2.3() {
  title 'a closed terminal ends a command that ignores SIGHUP'
  [ -x "$(command -v script)" ] || skip 'script(1) is not here'
  script -qec 'sls exec -q -t -- sh -c "trap \"\" HUP; echo \$\$ >pid; echo on; exec sleep 100000"' /dev/null >said 2>&1 </dev/null &
  eventually 'the command to run' has_line said on
  kill -KILL $!
  wait $! 2>/dev/null
  gone pid
  eventually 'no seat to be taken' next_has_it
}

2.4() {
  title 'a client that answers no more, as behind a lost network, ends its command'
  sls exec -q -- sh -c 'echo $$ >pid; echo on; exec sleep 100000' >said 2>err &
  local client=$!
  eventually 'the command to run' has_line said on
  kill -STOP $client
  gone pid
  kill -KILL $client
  wait $client 2>/dev/null
  eventually 'no seat to be taken' next_has_it
}

3.1() {
  title 'a terminal whose size nobody knows is 0 by 0 there as well'
  run sls exec -q -t -- stty size </dev/null
  ended 0
  same '0 0' "$(tr -d '\r' <out)" 'a size of'
  [ -x "$(command -v script)" ] || return 0
  run script -qec 'stty rows 0 cols 0; sls exec -q -- stty size' /dev/null </dev/null
  ended 0
  # script(1) may echo the end of its input.
  out_like '(^|\^@)0 0.$'
}

3.2() {
  title 'the end of piped input ends a command on a terminal, also in the middle of a line'
  run_line 'printf "no end of line" | sls exec -q -t -- cat'
  ended 0
  out_like 'no end of line'
  err_is ''
}

3.3() {
  title '-n leaves standard input to the loop around it, as with ssh'
  run_line 'printf "a\nb\nc\n" | while read -r line; do sls exec -q -n -- echo "$line"; done'
  ended 0
  out_is $'a\nb\nc'
  err_is ''
  run_line 'printf "a\nb\nc\n" | while read -r line; do sls exec -q -- echo "$line"; done'
  ended 0
  out_is a
}

3.4() {
  title '-e takes one variable, and leaves the command alone'
  run sls exec -q -e A=1 env </dev/null
  ended 0
  out_like '^A=1$'
  err_is ''
  run sls exec -q -e A=1 -e B=2 sh -c 'echo "$A $B"' </dev/null
  ended 0
  out_is '1 2'
}

4.1() {
  title 'nohup sls exec outlives SIGHUP'
  nohup sls exec -q -- sh -c 'echo on; until [ -e go ]; do sleep 0.1; done; rm go; echo done' >said 2>err </dev/null &
  local client=$!
  eventually 'the command to run' has_line said on
  kill -HUP $client
  inside 'touch go'
  wait $client
  status=$?
  ended 0
  same $'on\ndone' "$(cat said)" 'the output'
}

4.2() {
  title 'nohup sls up outlives SIGHUP'
  needs_own_service
  kill -HUP "$service"
  run sls exec -q -- echo on
  ended 0
  out_is on
  holds 'sls up to run' kill -0 "$service"
}
