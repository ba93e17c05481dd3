import type { Command } from 'commander';
import { watchParent } from '../../../core/rpc/parent';
import { defaultInstallationFolder } from '../../../launcher/folder';
import type { TpmChoice } from '../../../launcher/tpm';
import { CliError, EXIT } from '../exit';
import { requestedLogLevel } from '../log-level';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';

interface Options extends OutputOptions {
  dir?: string;
  tpm?: string;
  ekRoots?: string;
  databaseUrlFile?: string;
  idle: string;
}

const TPM_DEVICE = /^device:(\/.+)$/;

/** `sls up`: the whole service on this machine, in the foreground, until Ctrl-C. */
export function addUp(program: Command): void {
  const command = program
    .command('up')
    .description('run the service on this machine, in the foreground')
    .option('--dir <folder>', 'where keys, accounts and workspaces are kept (default: ~/.local/state/sls/server)')
    .option('--tpm <tpm>', "device:/dev/tpmrm0 for the machine's TPM (default: a software TPM)")
    .option('--ek-roots <folder>', "CA certificates (PEM) of the TPM's maker; needed with --tpm")
    .option('--database-url-file <file>', 'file with a postgres:// URL (default: PostgreSQL inside this process)')
    .option('--idle <seconds>', 'end an enclave that nobody is connected to after this; 0: never. Workspaces stay', '600');
  addOutputOptions(command).action(run);
  addExample(command, 'sls up');
}

async function run(options: Options): Promise<void> {
  const out = new Output(options);
  const tpm = chooseTpm(options);
  if (!/^\d{1,7}$/.test(options.idle)) throw new CliError(EXIT.usage, `expected --idle SECONDS, got ${JSON.stringify(options.idle)}`);
  const ending = new AbortController();
  const ended = new Promise<NodeJS.Signals>((resolve) => {
    const end = (signal: NodeJS.Signals): void => {
      ending.abort(new CliError(EXIT.ok, `stopped by ${signal}`));
      resolve(signal);
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
    watchParent(() => end('SIGHUP'));
  });
  // Loaded here: no other command needs the launcher and what it brings.
  const { startInstallation } = await import('../../../launcher/up');
  const installation = await startInstallation({
    folder: options.dir ?? defaultInstallationFolder(),
    tpm,
    databaseUrlFile: options.databaseUrlFile,
    idleSeconds: Number(options.idle),
    logLevel: requestedLogLevel ?? 'info',
    report: (line) => out.note(line),
    signal: ending.signal,
  }).catch((error: unknown) => {
    // A start that was ended on request has not failed.
    if (ending.signal.aborted) return undefined;
    throw error;
  });
  if (!installation) return;
  const { folder, trustBundleFile, services } = installation;
  out.done('ready; Ctrl-C ends everything');
  out.result({ ready: true, pid: process.pid, folder, trustBundle: trustBundleFile, services }, [
    `trust bundle  ${trustBundleFile}`,
    `signup        ${services.signup}`,
    `login         ${services.login}`,
    `logs          ${folder}/log`,
  ]);
  await ended;
  out.progress('stopping');
  await installation.stop();
  out.done('stopped');
}

function chooseTpm({ tpm, ekRoots }: Options): TpmChoice {
  if (tpm === undefined) return { kind: 'software' };
  const device = TPM_DEVICE.exec(tpm)?.[1];
  if (device === undefined) throw new CliError(EXIT.usage, `expected --tpm device:/PATH, got ${JSON.stringify(tpm)}`);
  if (ekRoots === undefined) throw new CliError(EXIT.usage, "expected --ek-roots FOLDER with the CA certificates of the TPM's maker");
  return { kind: 'device', device, ekRootsFolder: ekRoots };
}
