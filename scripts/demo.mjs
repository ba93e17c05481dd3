// The whole flow on real parts, in a folder of its own that is removed at the end: service, account, enclave, work, refusals.
// Ends with 0 only if everything behaved, the refusals included.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { createServer } from 'node:tls';
import { fileURLToPath } from 'node:url';

const sls = join(dirname(dirname(fileURLToPath(import.meta.url))), 'dist', 'sls.cjs');
const folder = mkdtempSync(join(tmpdir(), 'sls-demo-'));
const env = {
  ...process.env,
  XDG_STATE_HOME: join(folder, 'state'),
  XDG_CONFIG_HOME: join(folder, 'config'),
  SLS_TRUST: '',
};
const bold = (text) => (process.stdout.isTTY && !process.env.NO_COLOR ? `\u001b[1m${text}\u001b[0m` : text);
const say = (text = '') => process.stdout.write(`${text}\n`);
const section = (title) => say(`\n${bold(`== ${title}`)}`);

let service;
let failed = false;

/** Runs one sls command as a person would, shows it, and compares its exit code with what it should be. */
async function run(args, { stdin = '', stdinName, expect = 0, show = args } = {}) {
  const line = show.map((word) => (/[ >|&]/.test(word) ? `'${word}'` : word)).join(' ');
  say(`\n${bold(`$ sls ${line}${stdinName ? ` < ${stdinName}` : ''}`)}`);
  // One pipe for results and talk, so that they are shown in the order in which they were said.
  const command = ['-c', 'exec "$0" "$@" 2>&1', process.execPath, sls, ...args];
  const child = spawn('/bin/sh', command, { cwd: folder, env, stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.on('error', () => undefined);
  child.stdin.end(stdin);
  let output = '';
  child.stdout.on('data', (data) => {
    output += data;
    process.stdout.write(data);
  });
  const code = await new Promise((resolve) => child.on('close', (status, signal) => resolve(status ?? signal)));
  if (expect !== 0) say(`(exit code ${code})`);
  check(code === expect, `exit code ${expect}, got ${code}`);
  return output;
}

function check(holds, expectation) {
  if (holds) return;
  failed = true;
  say(`DEMO FAILED: expected ${expectation}`);
}

async function startService() {
  say(`\n${bold('$ sls up')}`);
  // It ends with this script, whatever ends that.
  service = spawn(process.execPath, [sls, 'up', '--json'], {
    cwd: folder,
    env: { ...env, PARENT_PIPE: '0' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  for await (const line of createInterface({ input: service.stdout })) {
    text += line;
    if (line === '}') return JSON.parse(text);
  }
  throw new Error('the service did not start');
}

async function stopService() {
  if (!service || service.exitCode !== null) return;
  const ended = new Promise((resolve) => service.once('exit', resolve));
  service.kill('SIGINT');
  await ended;
}

/** Someone with the routing tables in hand: ends TLS with a certificate of their own and passes everything on. */
async function startManInTheMiddle(address) {
  const key = join(folder, 'mallory.key');
  const certificate = join(folder, 'mallory.crt');
  const request = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-subj',
    '/CN=enclave',
    '-days',
    '1',
  ];
  spawnSync('openssl', [...request, '-keyout', key, '-out', certificate], { stdio: 'ignore' });
  const seen = { connections: 0, bytes: 0 };
  const options = {
    key: readFileSync(key),
    cert: readFileSync(certificate),
    minVersion: 'TLSv1.3',
    requestCert: true,
    rejectUnauthorized: false,
  };
  const server = createServer({ ...options, ALPNProtocols: ['h2'] }, (socket) => {
    const onward = connect(Number(address.split(':')[1]), '127.0.0.1');
    socket.on('data', (data) => (seen.bytes += data.length)).on('error', () => undefined);
    socket.pipe(onward).on('error', () => undefined);
  });
  server.on('connection', () => seen.connections++);
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { address: `127.0.0.1:${server.address().port}`, seen, stop: () => server.close() };
}

async function demo() {
  section('1. The service, on this machine: TPM (software), PostgreSQL, its programs');
  const { trustBundle } = await startService();

  section('2. Sign up: an account and a first access token');
  await run(['signup', '--username', 'ada', '--password-stdin'], { stdin: 'correct horse battery staple\n' });

  section('3. Log in: the enclave starts, its TPM quote is verified, then the connection itself');
  await run(['login', '--evidence', 'proof.json']);

  section('4. Work in it: a command on a file of yours, output streamed back; files both ways');
  const thesis = Array.from({ length: 20000 }, (_, line) => `${line + 1}. What was measured can be compared.\n`).join(
    '',
  );
  writeFileSync(join(folder, 'thesis.txt'), thesis);
  const digest = createHash('sha256').update(thesis).digest('hex');
  const hashed = await run(['exec', '--', 'sha256sum', '-'], { stdin: thesis, stdinName: 'thesis.txt' });
  check(hashed.includes(`\n${digest}  -`), 'the same digest as computed here');
  say(`(the same file hashed here: ${digest})`);
  await run(['cp', 'thesis.txt', 'enclave:thesis.txt']);
  await run(['exec', '--', 'sh', '-c', 'sort -rn thesis.txt > sorted.txt && wc -l sorted.txt']);
  await run(['cp', 'enclave:sorted.txt', 'sorted.txt']);
  check(readFileSync(join(folder, 'sorted.txt'), 'utf8').startsWith('20000. What'), 'the sorted file');
  await run(['status']);

  section('5. The evidence is a file: anyone can verify it, offline, with the trust bundle');
  await run(['verify', 'proof.json', '--trust', trustBundle], { show: ['verify', 'proof.json'] });

  section('6. Refused: a forged quote');
  const proof = JSON.parse(readFileSync(join(folder, 'proof.json'), 'utf8'));
  const flip = (base64, at) => {
    const bytes = Buffer.from(base64, 'base64');
    bytes[bytes.length + at] ^= 1;
    return bytes.toString('base64');
  };
  say('One bit of the signature flipped:');
  writeFileSync(join(folder, 'forged.json'), JSON.stringify({ ...proof, signature: flip(proof.signature, -1) }));
  const forged = await run(['verify', 'forged.json', '--trust', trustBundle], {
    expect: 5,
    show: ['verify', 'forged.json'],
  });
  check(/^NO {2}signature:/m.test(forged), 'a refusal at the step signature');
  say("\nA good signature, but beside it another certificate and claims that say it is the enclave's:");
  const claimed = Buffer.from(proof.claims, 'base64');
  const certificateHash = createHash('sha256').update(Buffer.from(proof.enclaveCertificate, 'base64')).digest();
  const another = Buffer.from('the certificate of someone else');
  createHash('sha256').update(another).digest().copy(claimed, claimed.indexOf(certificateHash));
  const forgery = { ...proof, claims: claimed.toString('base64'), enclaveCertificate: another.toString('base64') };
  writeFileSync(join(folder, 'claims.json'), JSON.stringify(forgery));
  const claims = await run(['verify', 'claims.json', '--trust', trustBundle], {
    expect: 5,
    show: ['verify', 'claims.json'],
  });
  check(/^NO {2}root:/m.test(claims), 'a refusal at the step root');

  section('7. Refused: a swapped certificate');
  say('Someone redirects your connection to a server of theirs, which passes everything on to your enclave.');
  const sessionFile = join(folder, 'state', 'sls', 'session.json');
  const saved = JSON.parse(readFileSync(sessionFile, 'utf8'));
  const mallory = await startManInTheMiddle(saved.session.enclave.tlsAddress);
  saved.session.enclave.tlsAddress = mallory.address;
  writeFileSync(sessionFile, JSON.stringify(saved));
  await run(['exec', '--', 'sha256sum', '-'], { stdin: thesis, stdinName: 'thesis.txt', expect: 5 });
  mallory.stop();
  say(`(they had ${mallory.seen.connections} connection and saw ${mallory.seen.bytes} bytes of yours)`);
  check(mallory.seen.connections > 0 && mallory.seen.bytes === 0, 'a connection without a byte');

  section('8. The end');
  await run(['logout']);
}

const interrupted = (signal) => {
  void stopService().then(() => {
    rmSync(folder, { recursive: true, force: true });
    process.exit(signal === 'SIGINT' ? 130 : 143);
  });
};
process.on('SIGINT', interrupted);
process.on('SIGTERM', interrupted);

if (!existsSync(sls)) {
  say('expected dist/ to be there: run npm run build');
  process.exit(1);
}
try {
  await demo();
} catch (error) {
  failed = true;
  say(`DEMO FAILED: ${error.message}`);
} finally {
  await stopService();
  rmSync(folder, { recursive: true, force: true });
}
say(failed ? '\nThe demo failed.' : '\nEverything behaved as it should, the refusals included.');
process.exit(failed ? 1 : 0);
