# 20: input that nobody expects, and words.

20.1() {
  title 'a username of 100,000 letters is named as what it is'
  local name
  name=$(printf 'a%.0s' {1..100000})
  for command in signup login; do
    run sls "$command" --username "$name" --password-stdin <<<"$PASSWORD"
    ended 2
    out_is ''
    err_is 'sls: expected a username of at most 256 characters, got 100000'
  done
}

20.2() {
  title 'a usage error with --json is a document on standard output'
  for command in 'status --json --no-such-option' 'cp --json' 'login --json --software-tpm perhaps' 'status --json --enclave A_b'; do
    # shellcheck disable=SC2086
    run sls $command
    ended 2
    holds "a document of sls $command" node -e 'const { error } = JSON.parse(require("fs").readFileSync("out", "utf8")); if (error.code !== "sls.usage" || error.exitCode !== 2 || !error.message) process.exit(1)'
    err_like '^sls: '
  done
}

20.3() {
  title 'revoking what does not exist is told apart'
  needs_admin
  admin nodes revoke "no-such-node-$$" --reason test --json
  ended 0
  out_like '"known": false'
  err_like 'no enrolled node has this node'
  admin nodes restore "no-such-node-$$" --reason test
  ended 0
  run sls sessions revoke 00000000-0000-4000-8000-000000000000
  holds 'no success' test "$status" -ne 0
  out_is ''
  err_like '^sls: .*session'
}

20.4() {
  title '--until DATE is through the end of that day'
  needs_admin
  admin licence issue --plan "reports-$number" --reason test --json --until 2027-01-01
  ended 0
  out_like '"until": "2027-01-01T23:59:59.000Z"'
}

20.5() {
  title 'a trust bundle of a later release says that it is one'
  local header payload
  header=$(cut -d. -f1 "$SLS_TRUST")
  payload=$(cut -d. -f2 "$SLS_TRUST" | tr -- -_ +/)===
  payload=$(base64 -d <<<"${payload:0:${#payload} / 4 * 4}" | sed 's/"version": *1/"version": 2/' | base64 -w0 | tr +/ -_ | tr -d =)
  printf '%s.%s.%s\n' "$header" "$payload" "$(printf 'A%.0s' {1..86})" >later.jws
  run sls trust show --trust later.jws
  ended 5
  out_is ''
  err_like 'got version 2: it needs a newer release'
  err_like '^hint: .*install a newer one$'
}

20.6() {
  title 'a client of a later release than the service says so'
  skip 'it takes a service of an earlier release; test/client/cli/failure.test.ts has one'
}

20.7() {
  title 'an enclave that is stopped under a command says so, and ends it with 6'
  run sls login -q --enclave ends </dev/null
  ended 0
  sls exec -q --enclave ends -- sh -c 'echo on; exec sleep 100000' >out 2>err </dev/null &
  local client=$!
  eventually 'the command to run' has_line out on
  run_line 'sls enclaves stop ends >/dev/null 2>&1'
  wait $client
  status=$?
  ended 6
  # In a cluster the way to the enclave may end before its own word of it arrives.
  err_like '^sls: the (enclave was stopped while the command ran|connection to the enclave ended)$'
  err_like '^hint: .*next command (starts it|connects) again$'
  run sls enclaves delete ends --yes
  ended 0
}

20.8() {
  title '--wait waits for a seat'
  local limit holders=()
  limit=$(sls seats list --json | sed -n 's/^ *"limit": \([0-9]*\),\?$/\1/p')
  [ "$limit" -le 4 ] || skip "all of the account's $limit seats would have to be taken"
  eventually 'no seat to be taken' no_seat_taken
  mkfifo held
  exec {held}<>held
  for ((seat = 0; seat < limit; seat++)); do
    sls exec -q -- sh -c 'echo on; cat' <held >"said$seat" 2>"err$seat" {held}>&- &
    holders+=($!)
  done
  for ((seat = 0; seat < limit; seat++)); do eventually 'a seat to be held' has_line "said$seat" on; done
  run sls exec -q -- true
  ended 6
  out_is ''
  err_like '^hint: .*--wait'
  sls exec --wait 600 -- echo on >waited 2>waiting </dev/null &
  local client=$!
  eventually 'it to wait' has_line waiting '^sls: all seats are taken: waiting for one$'
  exec {held}>&-
  kill -TERM "${holders[@]}" 2>/dev/null
  wait $client
  status=$?
  ended 0
  same on "$(cat waited)" 'the output'
}

20.10() {
  title 'a wrong code while a second factor is set up offers no recovery codes'
  run sls totp enable --password-stdin <<<"$PASSWORD"$'\n000000'
  ended 4
  out_is ''
  err_like '^sls: the code is wrong: you have no second factor yet$'
  err_like '^hint: .*clock.*sls totp enable$'
  err_unlike 'recovery'
}
