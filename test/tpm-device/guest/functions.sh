# What the jobs of test/tpm-device share. They run as root in the guest, in sh; /host is a folder of the machine that runs the tests.
set -u
export TPM2TOOLS_TCTI=device:/dev/tpmrm0
server=/var/lib/sls/.local/state/sls/server
password='correct horse battery staple 7'

# When something went wrong, where.
note() { echo "$(cut -d' ' -f1 /proc/uptime) $*"; }

as_sls() { setpriv --reuid sls --regid sls --init-groups env HOME=/var/lib/sls "$@"; }
sls() { as_sls node /opt/sls/dist/sls.cjs "$@"; }
login() { echo "$password" | sls login --username ada --password-stdin "$@"; }

# The steps of docs/hardware.md. swtpm's certificates are those of this TPM's maker, and the operator says that it is a software TPM.
install_service() {
  useradd --system --home-dir /var/lib/sls sls
  cp /host/guest/sls.conf /etc/tmpfiles.d/sls.conf
  systemd-tmpfiles --create sls.conf
  mkdir -p /etc/sls
  cp -r /host/ek-roots /etc/sls/ek-roots
  su postgres -c 'createuser sls && createdb -O sls sls'
  echo 'postgres://sls@localhost/sls?host=/var/run/postgresql' >/etc/sls/database-url
  sed 's| --ek-roots | --software-tpm allow&|' /host/guest/sls.service >/etc/systemd/system/sls.service
  systemctl daemon-reload
}

start_service() {
  note "starting the service"
  systemctl start sls
  for _ in $(seq 900); do
    if journalctl -b -u sls --no-pager | grep -q 'ready; Ctrl-C'; then
      note "it serves"
      return
    fi
    systemctl is-active --quiet sls || break
    sleep 1
  done
  journalctl -b -u sls --no-pager
  tail -n 20 $server/log/*.log
  exit 9
}

# The attestor alone, as the service's user, with the settings that are its arguments: it ends with the reason why it can't serve, in /host/reasons/NAME.
attestor_ends() {
  name=$1
  shift
  note "attestor: $name"
  rm -rf /tmp/attestor
  install -d -o sls -m 700 /tmp/attestor /tmp/attestor/run
  mkdir -p /host/reasons
  timeout 120 setpriv --reuid sls --regid sls "${groups:---groups=tss}" env \
    LISTEN=unix:/tmp/attestor/run/attestor.sock TPM=device:/dev/tpmrm0 NODE_NAME=node-1 STATE_DIR=/tmp/attestor/state \
    ENROL_ADDRESS=unix:/tmp/attestor/run/enrol.sock IDENTITY=process LAUNCHER_KEY_FILE=/host/launcher.json END_UNREADY=true TRUST_DOMAIN=sls.local \
    "$@" node /opt/sls/dist/attestor-daemon.cjs >"/host/reasons/$name" 2>&1
  echo "exit code $?" >>"/host/reasons/$name"
}
