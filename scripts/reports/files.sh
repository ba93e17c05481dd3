# 5 and 6: sls cp, and other files that sls writes.

# A file in the enclave, and the same here.
given() {
  printf '%s\n' 'what was measured can be compared' >given
  run sls cp given "enclave:given-$number"
  ended 0
  err_ours
}
fetch() { run sls cp -q "enclave:given-$number" "$@"; }
same_here() { holds "$1 to have what was copied" cmp -s given "$1"; }

5.1() {
  title 'a device is written to, and stays one'
  given
  local device=/dev/null
  if [ "$(id -u)" = 0 ]; then
    # Root could replace the machine's own.
    device=$PWD/null
    { mknod "$device" c 1 3 && : >"$device"; } 2>/dev/null || skip 'no device could be made'
  fi
  fetch "$device"
  ended 0
  out_is ''
  err_is ''
  holds "$device to be a device" test -c "$device"
}

5.2() {
  title 'a FIFO hands over what was copied, and stays one'
  given
  mkfifo fifo
  cat fifo >got &
  fetch fifo
  ended 0
  err_is ''
  wait $!
  same_here got
  holds 'a FIFO in its place' test -p fifo
}

5.3() {
  title '>(…), /dev/stdout and /dev/fd/N are written to'
  given
  needs_own_devices
  run_line "sls cp -q enclave:given-$number >(cat >got); status=\$?; wait \$!; exit \$status"
  ended 0
  err_is ''
  same_here got
  run_line "sls cp -q enclave:given-$number /dev/stdout | cat"
  ended 0
  same_here out
  run_line "sls cp -q enclave:given-$number /dev/fd/7 7>&1 | cat"
  ended 0
  same_here out
}

5.4() {
  title 'evidence goes into a pipe as well'
  needs_own_devices
  run_line 'sls login -q --evidence /dev/stdout | cat'
  ended 0
  out_like '"claims"'
}

5.5() {
  title 'a FIFO is no source, as with scp: it is refused at once, and - reads it'
  mkfifo fifo
  run sls cp -q fifo enclave:from-fifo
  ended 1
  out_is ''
  err_is $'sls: expected fifo to be a regular file, got a device, socket or pipe\nhint: sls cp - enclave:NAME < fifo'
  (echo through >fifo) &
  run_line 'sls cp -q - enclave:from-fifo <fifo'
  ended 0
  run sls cp -q enclave:from-fifo -
  out_is through
}

5.6() {
  title 'what is no regular file in the enclave is refused in either direction, and stays'
  given
  inside "rm -f fifo; mkfifo fifo"
  run sls cp -q given enclave:fifo
  ended 1
  err_is 'sls: expected a regular file, got a device, socket or pipe'
  run sls cp -q enclave:fifo got
  ended 1
  err_is 'sls: expected a regular file, got a device, socket or pipe'
  holds 'no file to be left' test ! -e got
  holds 'the FIFO to be there' inside 'test -p fifo && rm fifo'
}

6.1() {
  title 'a symbolic link is written through, also one to nothing, at both ends'
  given
  echo before >target
  ln -s target link
  ln -s later dangling
  fetch link
  ended 0
  fetch dangling
  ended 0
  same_here target
  same_here later
  holds 'both to be links' test -L link -a -L dangling
  inside 'echo before >target; ln -sf target link; ln -sf later dangling'
  for link in link dangling; do
    run sls cp -q given "enclave:$link"
    ended 0
    err_is ''
  done
  run sls exec -q -- sh -c 'test -L link && test -L dangling && cat target later; rm -f target later link dangling'
  ended 0
  out_is "$(cat given given)"
}

6.2() {
  title 'a file under a mount is written into'
  given
  touch place below
  unshare -m true 2>/dev/null || skip 'no mount can be made here'
  run unshare -m bash -c 'mount --bind below place && sls cp -q "enclave:given-$0" place && cat place' "$number"
  ended 0
  err_is ''
  same_here out
  same_here below
}

6.3() {
  title 'names of 240 and of 255 bytes are as good as others'
  given
  local name
  for name in "$(printf '漢%.0s' {1..80})" "$(printf 'x%.0s' {1..255})"; do
    run sls cp -q given "enclave:$name"
    ended 0
    err_is ''
    run sls cp -q "enclave:$name" "$name"
    ended 0
    err_is ''
    same_here "$name"
    inside "rm $name"
  done
}

6.4() {
  title 'a file that grows meanwhile is copied to its end, in both directions'
  head -c 1000000 /dev/zero >grows
  (until [ -e stop ]; do head -c 1000 /dev/zero >>grows; sleep 0.02; done) &
  run sls cp -q grows enclave:grew
  touch stop
  wait $!
  ended 0
  err_is ''
  run sls cp -q enclave:grew grew
  ended 0
  holds 'more than there was at the beginning' test "$(stat -c %s grew)" -gt 1000000
  holds 'its beginning' cmp -s -n "$(stat -c %s grew)" grew grows
  inside 'rm -f stop' && run sls exec -q --detach -- sh -c '(until [ -e stop ]; do head -c 1000 /dev/zero >>grew; sleep 0.02; done) >/dev/null 2>&1 &'
  ended 0
  run sls cp -q enclave:grew again
  inside 'touch stop; rm grew'
  ended 0
  err_is ''
  holds 'no less than before' test "$(stat -c %s again)" -ge "$(stat -c %s grew)"
}

6.5() {
  title 'a file that says it is empty, and is not, arrives, in both directions'
  run sls cp -q /proc/version enclave:version
  ended 0
  run sls exec -q -- cat version
  out_is "$(cat /proc/version)"
  run sls cp -q enclave:/proc/version -
  ended 0
  err_is ''
  out_is "$(inside 'cat /proc/version')"
}
