import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { delimiter, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { systemClock } from '../runtime/clock';
import { CodedError } from '../errors/coded-error';
import type { SwtpmCode } from '../errors/operator';
import { splitCertificates } from '../attestation/certificates/pem';
import { readableText, readText } from '../runtime/text/utf8';
import { writeWhole } from '../runtime/files/whole-file';

const run = promisify(execFile);

/** sockaddr_un.sun_path of Linux, without the closing NUL. */
const SOCKET_PATH_BYTES = 107;
/** The control socket's name is the data socket's and this: the TCTI of tpm2-tss derives it so. */
const CONTROL_SUFFIX = '.ctrl';
const STATE_FILE = 'tpm2-00.permall';
const CA_FILE = 'ca-certificates.pem';

/** A software TPM that could not be made or started. */
class SwtpmError extends CodedError<SwtpmCode> {
  override readonly name = 'SwtpmError';
}

export interface Swtpm {
  /** What TPM2TOOLS_TCTI and the attestor's TPM setting take. */
  tcti: string;
  pid: number;
  /** PEM, the CA that signed the endorsement certificates: root first, then its issuing CA. */
  caCertificates: string[];
  /** Ends the process; its state stays. */
  stop(): Promise<void>;
  /** Settles when the process has ended, for whatever reason. */
  exited: Promise<void>;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function program(...names: string[]): Promise<string> {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin', '/usr/local/bin', '/usr/share/swtpm'];
  for (const name of names) {
    for (const folder of folders) {
      const path = join(folder, name);
      if (
        folder !== '' &&
        (await access(path, constants.X_OK).then(
          () => true,
          () => false,
        ))
      )
        return path;
    }
  }
  throw new SwtpmError('swtpm.missing', `expected ${names[0]} to be installed (Debian packages swtpm and swtpm-tools)`);
}

/**
 * Makes a TPM with RSA-2048 and ECC endorsement keys and their certificates in NVRAM, issued by a CA in `caFolder`
 * that is made when it isn't there. Several TPMs may share one CA. A TPM that is there already is left as it is.
 * @returns the CA's certificates, PEM: root first, then its issuing CA.
 * @throws SwtpmError swtpm.missing, swtpm.setup_failed
 */
export async function createSwtpmState(folder: string, options: { caFolder: string }): Promise<string[]> {
  const target = resolve(folder);
  if (!(await exists(join(target, STATE_FILE)))) {
    const ca = resolve(options.caFolder);
    await mkdir(ca, { recursive: true, mode: 0o700 });
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    // Made beside its place and then renamed: a set-up that was interrupted leaves no half a TPM.
    const draft = await mkdtemp(`${target}.new-`);
    try {
      await manufacture(draft, ca);
      await rm(target, { recursive: true, force: true });
      await rename(draft, target);
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
  }
  return readCaCertificates(target);
}

async function manufacture(state: string, ca: string): Promise<void> {
  const settings = await mkdtemp(`${ca}/settings-`);
  try {
    const lines: Record<string, string[]> = {
      'localca.conf': [
        `statedir = ${ca}`,
        `signingkey = ${ca}/signkey.pem`,
        `issuercert = ${ca}/issuercert.pem`,
        `certserial = ${ca}/certserial`,
      ],
      'localca.options': ['--platform-manufacturer swtpm', '--platform-version 2.1', '--platform-model swtpm'],
      'setup.conf': [
        `create_certs_tool = ${await program('swtpm_localca', 'swtpm-localca')}`,
        `create_certs_tool_config = ${settings}/localca.conf`,
        `create_certs_tool_options = ${settings}/localca.options`,
        'active_pcr_banks = sha256',
      ],
    };
    for (const [name, text] of Object.entries(lines)) await writeWhole(join(settings, name), `${text.join('\n')}\n`);
    const setup = await program('swtpm_setup');
    const log = join(settings, 'log');
    const args = ['--tpm2', '--tpmstate', state, '--config', `${settings}/setup.conf`, '--logfile', log];
    await run(setup, [...args, '--create-ek-cert', '--lock-nvram', '--ecc', '--overwrite'], { timeout: 60_000 }).catch(
      async (cause: unknown) => {
        const text = readableText(await readFile(log).catch(() => Buffer.alloc(0)))
          .trim()
          .split('\n')
          .slice(-3)
          .join('; ');
        const reason = text || (cause as Error).message;
        throw new SwtpmError('swtpm.setup_failed', `swtpm_setup failed in ${dirname(state)}: ${reason}`, { cause });
      },
    );
    const root = await readText(join(ca, 'swtpm-localca-rootca-cert.pem'));
    const issuer = await readText(join(ca, 'issuercert.pem'));
    await writeWhole(join(state, CA_FILE), `${root.trim()}\n${issuer.trim()}\n`);
  } finally {
    await rm(settings, { recursive: true, force: true });
  }
}

async function readCaCertificates(folder: string): Promise<string[]> {
  const text = await readText(join(folder, CA_FILE));
  return splitCertificates(text);
}

/** True when something accepts connections on the unix socket. */
function accepts(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path, () => {
      socket.destroy();
      done(true);
    });
    socket.on('error', () => done(false));
  });
}

/** CMD_GET_CAPABILITY of swtpm's control channel (swtpm_ioctls(3)): any TPM answers it. */
const GET_CAPABILITY = Buffer.from([0, 0, 0, 1]);

/** True when the TPM answers on its control socket: it listens there before it has its state, and may still fail. */
function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path, () => socket.write(GET_CAPABILITY));
    const end = (answered: boolean): void => {
      socket.destroy();
      done(answered);
    };
    socket.setTimeout(1_000, () => end(false));
    socket.on('data', () => end(true));
    socket.on('error', () => end(false));
    socket.on('close', () => done(false));
  });
}

/**
 * Starts the TPM of a state folder on a unix socket (and its control socket beside it). Sockets that a killed TPM left are replaced.
 * @throws SwtpmError swtpm.socket_path (the path doesn't fit a socket address), swtpm.in_use, swtpm.start_failed, swtpm.missing
 */
export async function startSwtpm(options: { stateFolder: string; socket: string }): Promise<Swtpm> {
  const stateFolder = resolve(options.stateFolder);
  const socket = resolve(options.socket);
  const length = Buffer.byteLength(socket + CONTROL_SUFFIX);
  if (length > SOCKET_PATH_BYTES) {
    throw new SwtpmError(
      'swtpm.socket_path',
      `expected a socket path of ${SOCKET_PATH_BYTES - CONTROL_SUFFIX.length} bytes at most, got ${length - CONTROL_SUFFIX.length}: ${socket}`,
    );
  }
  // Only the control socket can be asked: a TPM serves one connection on the other at a time.
  if (await accepts(socket + CONTROL_SUFFIX)) throw new SwtpmError('swtpm.in_use', `another TPM serves ${socket}`);
  await mkdir(dirname(socket), { recursive: true, mode: 0o700 });
  for (const path of [socket, socket + CONTROL_SUFFIX]) await rm(path, { force: true });

  // setpriv replaces itself by swtpm, which then ends when this process does, even by SIGKILL.
  const child = spawn(
    await program('setpriv'),
    [
      ...['--pdeathsig', 'TERM', await program('swtpm')],
      ...['socket', '--tpm2', '--tpmstate', `dir=${stateFolder},mode=0600`],
      ...['--server', `type=unixio,path=${socket},mode=0600`],
      ...['--ctrl', `type=unixio,path=${socket}${CONTROL_SUFFIX},mode=0600`],
      ...['--flags', 'not-need-init,startup-clear'],
      // It logs every connection that ends, for ever; into a pipe, it would stop whenever the reader is busy.
      ...['--log', 'file=-'],
    ],
    // A group of its own: Ctrl-C at the terminal must not end it before those who use it.
    { stdio: 'ignore', detached: true },
  );
  const started = watch(child);
  await started.ready(socket + CONTROL_SUFFIX);
  return {
    tcti: `swtpm:path=${socket}`,
    pid: child.pid ?? 0,
    caCertificates: await readCaCertificates(stateFolder),
    exited: started.exited,
    async stop() {
      child.kill('SIGTERM');
      const force = setTimeout(() => child.kill('SIGKILL'), 2_000);
      await started.exited;
      clearTimeout(force);
      for (const path of [socket, socket + CONTROL_SUFFIX]) await rm(path, { force: true });
    },
  };
}

function watch(child: ChildProcess): { exited: Promise<void>; ready(control: string): Promise<void> } {
  let ended = false;
  const exited = new Promise<void>((done) => {
    const end = (): void => {
      ended = true;
      done();
    };
    child.on('error', end);
    child.on('close', end);
  });
  return {
    exited,
    async ready(control) {
      const deadline = systemClock.monotonic() + 10_000;
      while (!(await answers(control))) {
        if (ended || systemClock.monotonic() > deadline) {
          child.kill('SIGKILL');
          const reason = ended ? `it ended with ${child.exitCode ?? child.signalCode}` : 'it does not answer';
          throw new SwtpmError(
            'swtpm.start_failed',
            `swtpm did not start: ${reason}; another TPM may have its state folder open`,
          );
        }
        await systemClock.sleep(20);
      }
    },
  };
}
