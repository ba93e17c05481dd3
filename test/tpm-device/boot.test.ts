import { generateKeyPairSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { systemClock } from '../../runtime/clock';
import { Guest } from './guest';

/** Boots of some minutes each: the processor is emulated. */
jest.setTimeout(45 * 60_000);

let guest: Guest;
beforeAll(async () => {
  const images = process.env['SLS_GUEST_IMAGES'];
  if (images === undefined) throw new Error('expected SLS_GUEST_IMAGES: npm run test:tpm-device sets it');
  guest = await Guest.make(images);
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await writeFile(guest.shared('launcher.json'), JSON.stringify(publicKey.export({ format: 'jwk' })));
});
afterAll(() => guest?.remove());

const shared = (name: string): Promise<string> => readFile(guest.shared(name), 'utf8');
/** What the attestor ended with, and its exit code. */
const reason = (name: string): Promise<string> => shared(`reasons/${name}`);

/** Why the last boot was left out. */
let skipped: string | undefined;
/** The last boot failed or was left out: those after it go on where it ended. */
let broken = false;

/**
 * Each job is one boot; what is expected of it is compared outside, from the files that it leaves. Each goes on where the one before it ended.
 * @param minutes that it takes on a machine with nothing else to do; where there is a time limit that it would miss, it is skipped
 */
async function boot(minutes: number, job: Parameters<Guest['boot']>[0]): Promise<void> {
  const left = (Number(process.env['SLS_TPM_DEVICE_END'] ?? Infinity) * 1000 - systemClock.now()) / 60_000;
  skipped = broken ? 'the boot before it was not done' : undefined;
  broken = true;
  if (left < minutes) skipped ??= `it takes ${minutes} minutes, and there are ${Math.max(0, Math.floor(left))} left`;
  if (skipped !== undefined) return;
  const { code, log } = await guest.boot({ ...job, script: `. /host/guest/functions.sh\n${job.script}` });
  if (code !== 0) throw new Error(`expected the guest's job to end with 0, got ${code}:\n${log.slice(-6000)}`);
  broken = false;
}

/** A test of what the boot left, or a word that there was none. */
const ofBoot =
  <A extends unknown[]>(body: (...args: A) => Promise<void>) =>
  async (...args: A): Promise<void> => {
    if (skipped === undefined) await body(...args);
    else process.stderr.write(`skipped: ${expect.getState().currentTestName}: ${skipped}\n`);
  };

describe('on a machine with Secure Boot, shim, GRUB and a TPM that somebody set up for themselves', () => {
  beforeAll(() =>
    boot(6, {
      script: `
install_service
# Before it is owned: what another program does to it.
groups=--clear-groups attestor_ends no-rights
(while :; do tpm2_pcrextend 23:sha256=$(printf %064d 1); done) 2>/dev/null & other=$!
# By the tools, whose quote takes so long that the other is always faster.
attestor_ends pcr-23 TPM_TRANSPORT=tools
kill $other
tpm2_evictcontrol -Q -C o -c 0x81010010 2>/dev/null
tpm2_createprimary -Q -C o -c /tmp/theirs.ctx && tpm2_evictcontrol -Q -C o -c /tmp/theirs.ctx 0x81010010 || exit 8
attestor_ends handle

printf 'of the owner' >/etc/sls/owner-auth
printf 'of endorsement' >/etc/sls/endorsement-auth
printf 'another' >/etc/sls/wrong-auth
chown sls /etc/sls/*-auth && chmod 600 /etc/sls/*-auth
tpm2_changeauth -c o file:/etc/sls/owner-auth || exit 8
attestor_ends owner AK_HANDLE=0x81010020
attestor_ends owner-wrong AK_HANDLE=0x81010020 TPM_OWNER_AUTH_FILE=/etc/sls/wrong-auth
tpm2_changeauth -c e file:/etc/sls/endorsement-auth || exit 8
attestor_ends endorsement AK_HANDLE=0x81010020 TPM_OWNER_AUTH_FILE=/etc/sls/owner-auth

# A lock by wrong guesses of a third program's password.
tpm2_dictionarylockout -s -n 1 -t 1000 -l 1000 || exit 8
tpm2_createprimary -Q -C o -P file:/etc/sls/owner-auth -c /tmp/p.ctx
tpm2_create -Q -C /tmp/p.ctx -G ecc -p secret -u /tmp/k.pub -r /tmp/k.priv && tpm2_load -Q -C /tmp/p.ctx -u /tmp/k.pub -r /tmp/k.priv -c /tmp/k.ctx
for i in 1 2; do tpm2_sign -Q -c /tmp/k.ctx -p guess -o /tmp/s /etc/hostname; done >/host/lockout 2>&1

mkdir -p /etc/systemd/system/sls.service.d
cat >/etc/systemd/system/sls.service.d/tpm.conf <<'END'
[Service]
Environment=TPM_OWNER_AUTH_FILE=/etc/sls/owner-auth TPM_ENDORSEMENT_AUTH_FILE=/etc/sls/endorsement-auth AK_HANDLE=0x81010020
END
systemctl daemon-reload
start_service
tpm2_getcap handles-persistent >/host/handles

set -e
note "a user"
echo "$password" | sls signup --username ada --password-stdin
login --event-log --evidence /var/lib/sls/approved.json
note "a command"
sls exec -q -- sh -c 'echo "$((6 * 7)) in the enclave"' >/host/command
note "its boot state"
sls admin boot record --evidence /var/lib/sls/approved.json --name approved --dir $server >/host/recorded 2>&1
sls verify /var/lib/sls/approved.json --explain >/host/approved.txt
note "done"
`,
    }),
  );

  test.each([
    ['no-rights', 'expected rights to read and write the TPM at device:/dev/tpmrm0, got permission denied: add'],
    ['pcr-23', 'another process changed it each time'],
    ['handle', 'expected nothing at 0x81010010, got a key of another program: set AK_HANDLE to a free handle'],
    ['owner', "the TPM's owner hierarchy has a password: set TPM_OWNER_AUTH_FILE"],
    ['owner-wrong', "the TPM's owner hierarchy has another password than the file of TPM_OWNER_AUTH_FILE holds"],
    ['endorsement', "the TPM's endorsement hierarchy has a password: set TPM_ENDORSEMENT_AUTH_FILE"],
  ])(
    'the attestor ends with one sentence: %s',
    ofBoot(async (name: string, sentence: string) => {
      const text = await reason(name);
      expect(text).toContain(sentence);
      expect(text).toContain('exit code 2');
    }),
  );

  test(
    'its unit enrols with the settings that the sentences name, in spite of a dictionary lockout; a user signs up, logs in and runs a command',
    ofBoot(async () => {
      expect(await shared('lockout')).toMatch(/lockout|0x921/i);
      expect(await shared('handles')).toMatch(/0x81010010[^]*0x81010020/);
      expect(await shared('command')).toBe('42 in the enclave\n');
    }),
  );

  test(
    'its boot is recorded, with the kernel and its command line',
    ofBoot(async () => {
      expect(await shared('recorded')).toContain('boot state approved: PCRs 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14,');
      const explained = await shared('approved.txt');
      expect(explained).toContain('boot: as in golden state approved');
      expect(explained).toMatch(/events lead to the quoted values of PCRs 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14/);
    }),
  );
});

describe('the same machine with another kernel command line', () => {
  beforeAll(() =>
    boot(4, {
      commandLine: 'init=/lib/systemd/systemd',
      script: `
start_service
login >/host/refused 2>&1
echo "exit code $?" >>/host/refused
cp $server/log/login.log /host/login.log

note "the state of this boot, too"
sls admin boot remove approved --any-boot --dir $server || exit 7
# Login reads the bundle again when it is asked.
for _ in $(seq 20); do
  login --event-log --evidence /var/lib/sls/updated.json && break
  sleep 1
done
# The first boot's evidence is verified as of then.
at=$(sls verify /var/lib/sls/approved.json 2>&1 | grep -o -e '--at .*')
sls admin boot record --evidence /var/lib/sls/approved.json --name approved $at --dir $server || exit 7
sls admin boot record --evidence /var/lib/sls/updated.json --name updated --dir $server || exit 7
note "both"
for _ in $(seq 20); do
  login --verbose >/host/accepted 2>&1 && grep -q 'boot state updated' /host/accepted && break
  sleep 1
done
sls verify /var/lib/sls/approved.json --explain $at >/host/approved.txt 2>&1
note "done"
`,
    }),
  );

  test(
    'is refused at login, and its operator is told which words are new',
    ofBoot(async () => {
      const refused = await shared('refused');
      expect(refused).toContain('policy.boot_state');
      expect(refused).toContain('exit code 5');
      const told = await shared('login.log');
      expect(told).toContain('compared with approved, PCRs 8, 9 differ');
      expect(told).toContain('the kernel command line has init=/lib/systemd/systemd');
    }),
  );

  test(
    'is taken once its state stands beside the first one, whose evidence stays good',
    ofBoot(async () => {
      expect(await shared('accepted')).toContain('boot state updated');
      expect(await shared('approved.txt')).toContain('boot: as in golden state approved');
    }),
  );
});

describe('the same machine when its TPM has a SHA-384 bank alone', () => {
  beforeAll(async () => {
    await guest.allocatePcrs('sha384');
    await boot(2, { script: 'id -u sls || useradd --system sls\ntpm2_getcap pcrs >/host/banks\nattestor_ends bank' });
  });

  test(
    'the attestor ends with one sentence that says which bank is missing',
    ofBoot(async () => {
      expect(await shared('banks')).toMatch(/sha256: \[ *\][^]*sha384: \[ *0,/);
      const text = await reason('bank');
      expect(text).toContain('expected an active SHA-256 bank of PCRs, got sha384: turn it on in the firmware');
      expect(text).toContain('exit code 2');
    }),
  );
});
