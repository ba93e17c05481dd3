import type { Command } from 'commander';
import { Argument } from 'commander';
import { deleteEnclave, listEnclaves, stopEnclave } from '../../index';
import { callOptions } from '../call-options';
import { parseEnclaveName } from '../chosen-enclave';
import { CliError, EXIT } from '../exit';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { ownAccessToken } from '../own-tokens';
import { confirmTyped } from '../prompt';
import { dropLogin } from '../keep-login';
import { currentTrust, sessionFile } from '../session-file';
import { removeIfWritable } from '../state';
import { loadTrust } from '../trust';

/** `sls enclaves …`: the user's enclaves, each by its name. */
export function addEnclaves(program: Command): void {
  const enclaves = program
    .command('enclaves')
    .description('manage your enclaves; sls login --enclave NAME creates another one');
  const list = enclaves
    .command('list')
    .description('list your enclaves, whether they run, and when you last used them');
  addTrustOptions(addOutputOptions(list)).action(runList);
  addExample(list, 'sls enclaves list --json');

  const name = (): Argument => new Argument('<name>', 'as sls enclaves list shows it').argParser(parseEnclaveName);
  const stop = enclaves
    .command('stop')
    .description('stop an enclave; your next command starts it again')
    .addArgument(name());
  addTrustOptions(addOutputOptions(stop)).action(runStop);
  addExample(stop, 'sls enclaves stop gpu-lab');

  const remove = enclaves
    .command('delete')
    .description('delete an enclave and all of its files')
    .addArgument(name())
    .option('--yes', 'skip the confirmation');
  addTrustOptions(addOutputOptions(remove)).action(runDelete);
  addExample(remove, 'sls enclaves delete gpu-lab');
}

async function runList(options: CommonOptions): Promise<void> {
  const trust = await currentTrust(() => loadTrust(options), options);
  const overview = await listEnclaves(trust, await ownAccessToken(trust), callOptions());
  const { enclaves, limit } = overview;
  new Output(options).result(overview, [
    ...enclaves.map(({ name, state, node, lastUsedAt, persistent }) =>
      [
        name.padEnd(20),
        state + (node === undefined ? '' : ` on ${node}`),
        `used ${lastUsedAt.toISOString()}`,
        persistent ? 'keeps its files' : 'keeps no files at zero',
      ].join('  '),
    ),
    `${enclaves.length} of ${limit} ${limit === 1 ? 'enclave' : 'enclaves'}`,
  ]);
}

async function runStop(name: string, options: CommonOptions): Promise<void> {
  const out = new Output(options);
  const trust = await currentTrust(() => loadTrust(options), options);
  out.progress(`stopping ${name}`);
  const { wasRunning, filesKept } = await stopEnclave(trust, await ownAccessToken(trust), name, callOptions());
  out.done(
    wasRunning
      ? `${name} is stopped; ${filesKept ? 'its files are kept' : 'its files are deleted'}`
      : `${name} was not running`,
  );
  out.result({ name, wasRunning, filesKept }, []);
}

async function runDelete(name: string, options: CommonOptions & { yes?: boolean }): Promise<void> {
  const out = new Output(options);
  const trust = await currentTrust(() => loadTrust(options), options);
  const accessToken = await ownAccessToken(trust);
  if (!options.yes && !(await confirmTyped(`Delete ${name} and all of its files? Type its name: `, name))) {
    throw new CliError(EXIT.failure, `${name} is not deleted: another name was typed`);
  }
  out.progress(`deleting ${name}`);
  await deleteEnclave(trust, accessToken, name, callOptions());
  await removeIfWritable(out, () => dropLogin(sessionFile(name)));
  out.done(`${name} is deleted`);
  out.result({ name, deleted: true }, []);
}
