import { execFile } from 'node:child_process';
import { chmod, chown, lstat, mkdir, mkdtemp, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { distFolder } from '../../runtime/config/dist';
import { ifThere, replaceFile } from '../../runtime/files/whole-file';
import { LauncherError } from '../errors';
import type { EnclavePlaces, Isolation } from './isolation';
import { WorkspaceOwners } from './owner';

const run = promisify(execFile);

/** What of the sandbox is the enclave's own; its user's commands don't see it. */
const OWN = '/run/sls';
const WORKSPACE = '/workspace';
/** Where root puts together what an enclave gets, before the enclave's user id takes over, which couldn't reach it. */
const STAGE = '/run/stage';
/** Enough for the slowest machine. */
const PROBE_MS = 60_000;

/** Folders beside /usr that hold programs: links into it on a merged system. */
const SYSTEM = ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32'];
/** All of /etc that an enclave sees: what programs look up, and nothing of this machine's users, hosts or services. */
const ETC = [
  'alternatives',
  'bash.bashrc',
  'bash_completion.d',
  'debian_version',
  'inputrc',
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'localtime',
  'magic',
  'mime.types',
  'nsswitch.conf',
  'os-release',
  'profile',
  'protocols',
  'services',
  'ssl/certs',
  'ssl/openssl.cnf',
  'terminfo',
  'timezone',
  'vim',
].map((name) => `/etc/${name}`);

interface Mount {
  from: string;
  to: string;
  writable?: boolean;
}

interface Sandbox {
  mounts: readonly Mount[];
  /** Given by root alone; otherwise the sandbox is this user's. */
  owner: number | undefined;
}

/** The argument that starts a program in a sandbox with these mounts; the program and its arguments follow. */
async function sandboxArguments({ mounts, owner }: Sandbox): Promise<string[]> {
  const from = (mount: Mount, index: number): string => (owner === undefined ? mount.from : `${STAGE}/${index}`);
  const inner = [
    'bwrap',
    ...['--die-with-parent', '--unshare-user', '--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts'],
    ...['--unshare-cgroup-try', '--hostname', 'enclave', '--ro-bind', '/usr', '/usr', ...(await systemFolders())],
    ...['--dir', '/etc', '--dir', '/etc/ssl'],
    ...ETC.flatMap((path) => ['--ro-bind-try', path, path]),
    ...['--proc', '/proc', '--dev', '/dev', '--dir', '/run', '--dir', '/var', '--symlink', '../tmp', '/var/tmp'],
    ...mounts.flatMap((mount, index) => [
      mount.writable === true ? '--bind' : '--ro-bind',
      from(mount, index),
      mount.to,
    ]),
    ...['--chdir', '/', '--unsetenv', 'NODE_EXTRA_CA_CERTS', '--unsetenv', 'OTEL_EXPORTER_OTLP_ENDPOINT'],
    ...['--remount-ro', '/dev', '--remount-ro', '/', '--'],
  ];
  if (owner === undefined) return ['prlimit', '--core=0', '--', ...inner];
  return [
    ...[
      'prlimit',
      '--core=0',
      '--',
      'bwrap',
      '--die-with-parent',
      '--dev-bind',
      '/',
      '/',
      '--tmpfs',
      '/run',
      '--dir',
      STAGE,
    ],
    ...mounts.flatMap(({ from: path }, index) => ['--bind', path, `${STAGE}/${index}`]),
    ...['--', 'setpriv', '--reuid', String(owner), '--regid', String(owner), '--clear-groups', '--no-new-privs', '--'],
    ...inner,
  ];
}

async function systemFolders(): Promise<string[]> {
  const found = await Promise.all(
    SYSTEM.map(async (name) => {
      const path = `/${name}`;
      const info = await ifThere(lstat(path));
      if (info === undefined) return [];
      return info.isSymbolicLink() ? ['--symlink', await readlink(path), path] : ['--ro-bind', path, path];
    }),
  );
  return found.flat();
}

/**
 * Walls by bubblewrap: each enclave in namespaces of its own, with the system read-only, its workspace, a /tmp, the way to its attestor and nothing else of
 * this machine. Started by root, each has a user id of its own as well.
 * @param options.node what runs the enclave's program @throws LauncherError launcher.isolation
 */
export async function bubblewrapIsolation({
  node,
  workspaceFolder,
  uid = process.getuid?.(),
}: {
  node: string;
  workspaceFolder: string;
  uid?: number | undefined;
}): Promise<Isolation> {
  const owners = uid === 0 ? new WorkspaceOwners(workspaceFolder) : undefined;
  await probe(uid === 0);
  const program = join(distFolder(), 'enclave.cjs');
  const terminals = dirname(dirname(createRequire(program).resolve('@lydell/node-pty/requireBinary.js')));
  return {
    name: 'bubblewrap',
    description:
      owners === undefined
        ? 'each enclave runs in a sandbox of its own (bubblewrap), all as this user'
        : 'each enclave runs in a sandbox of its own (bubblewrap), as a user of its own',
    async enclose({ folder, workspace, attestorFolder, clientCaFile }: EnclavePlaces) {
      const owner = await owners?.ownerOf(workspace);
      const shared = join(folder, 'identity');
      const own = [join(folder, 'ready'), join(folder, 'tmp')];
      // Nobody but its owner reaches what is in the folder; who is inside the sandbox has other rights.
      await mkdir(shared, { mode: 0o755 });
      for (const path of own) {
        await mkdir(path, { mode: 0o700 });
        if (owner !== undefined) await chown(path, owner, owner);
      }
      await chmod(attestorFolder, 0o711);
      const id = owner ?? uid ?? 0;
      await writeFile(join(shared, 'passwd'), `enclave:x:${id}:${id}:enclave:${WORKSPACE}:/bin/bash\n`);
      await writeFile(join(shared, 'group'), `enclave:x:${id}:\n`);
      const mode = owner === undefined ? 0o600 : 0o644;
      const refresh = async (): Promise<void> => {
        const copy = join(shared, 'client-ca.crt');
        const now = await readFile(clientCaFile);
        const before = await ifThere(readFile(copy));
        if (before === undefined || !before.equals(now)) await replaceFile(copy, now, 0o644);
      };
      await refresh();
      const mounts: Mount[] = [
        { from: shared, to: `${OWN}/identity` },
        { from: join(shared, 'passwd'), to: '/etc/passwd' },
        { from: join(shared, 'group'), to: '/etc/group' },
        { from: join(folder, 'ready'), to: `${OWN}/ready`, writable: true },
        { from: attestorFolder, to: `${OWN}/attestor` },
        { from: program, to: `${OWN}/program/dist/enclave.cjs` },
        { from: terminals, to: `${OWN}/program/node_modules/@lydell` },
        { from: node, to: `${OWN}/node` },
        { from: join(folder, 'tmp'), to: '/tmp', writable: true },
        { from: workspace, to: WORKSPACE, writable: true },
      ];
      return {
        command: [...(await sandboxArguments({ mounts, owner })), `${OWN}/node`, `${OWN}/program/dist/enclave.cjs`],
        enclosed: true,
        readyFile: join(folder, 'ready', 'ready'),
        credential: { path: join(shared, 'credential'), mode },
        settings: {
          ATTESTOR_ADDRESS: `unix:${OWN}/attestor/attestor.sock`,
          ATTESTOR_CREDENTIAL_FILE: `${OWN}/identity/credential`,
          CLIENT_CA_FILE: `${OWN}/identity/client-ca.crt`,
          READY_FILE: `${OWN}/ready/ready`,
          HIDDEN_DIR: OWN,
          WORKSPACE_DIR: WORKSPACE,
          HOME: WORKSPACE,
          TMPDIR: '/tmp',
        },
        refresh,
      };
    },
  };
}

/** Tries the walls, those for commands inside them included. @throws LauncherError launcher.isolation */
async function probe(asRoot: boolean): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'sls-walls-'));
  try {
    await chmod(folder, 0o755);
    const [command = '', ...args] = await sandboxArguments({
      mounts: [{ from: folder, to: '/tmp' }],
      owner: asRoot ? 1_900_000_000 : undefined,
    });
    const inner = ['bwrap', '--unshare-user', '--unshare-pid', '--dev-bind', '/', '/', '--proc', '/proc', '--', 'true'];
    await run(command, [...args, ...inner], { timeout: PROBE_MS });
  } catch (error) {
    const { code, stderr, message } = error as Error & { code?: unknown; stderr?: string };
    const missing = code === 'ENOENT' || /bwrap: No such file|failed to execute bwrap/.test(stderr ?? '');
    throw new LauncherError(
      'launcher.isolation',
      missing
        ? 'the walls between enclaves need bubblewrap, which is not installed'
        : `bubblewrap can't put up walls between enclaves here: ${(stderr ?? '').trim().split('\n').at(-1) || message}`,
      missing
        ? 'run: apt install bubblewrap. Without walls, for trying things out alone: sls up --isolation none'
        : 'the system has to let this user make user namespaces (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns). Without walls, for trying things out alone: sls up --isolation none',
      { cause: error },
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
