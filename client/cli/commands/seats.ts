import type { Command } from 'commander';
import { freeSeats, listSeats } from '../../index';
import { callOptions } from '../call-options';
import { CliError, EXIT } from '../exit';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { ownAccessToken } from '../own-tokens';
import { currentTrust } from '../session-file';
import { loadTrust } from '../trust';

/** `sls seats …`: the connections that count among what the licence allows at once. */
export function addSeats(program: Command): void {
  const seats = program
    .command('seats')
    .description('manage your seats: connections to enclaves that count against your licence');
  const list = seats.command('list').description('list your seats, and how many are left');
  addTrustOptions(addOutputOptions(list)).action(runList);
  addExample(list, 'sls seats list');

  const free = seats
    .command('free')
    .description(
      'give up a seat whose session was lost; it is free once its last token has ended, within minutes; a session still running can start nothing new then, and counts against you until what it runs has ended',
    )
    .argument('[ids...]', 'as sls seats list shows them')
    .option('--all', 'give up all your seats');
  addTrustOptions(addOutputOptions(free)).action(runFree);
  addExample(free, 'sls seats free 7d4b2f0c-…', 'sls seats free --all');
}

async function runList(options: CommonOptions): Promise<void> {
  const trust = await currentTrust(() => loadTrust(options), options);
  const overview = await listSeats(trust, await ownAccessToken(trust), callOptions());
  const { seats, taken, limit, licence } = overview;
  new Output(options).result(overview, [
    ...seats.map(
      ({ seat, clientName, enclave, node, takenAt, renewedAt, expiresAt, ended }) =>
        `${seat}  ${clientName || '-'}  enclave ${enclave} on ${node}  since ${takenAt.toISOString()}, heartbeat ${renewedAt.toISOString()}, ${ended ? 'given up or lapsed, free' : 'free by itself'} ${expiresAt.toISOString()}`,
    ),
    `${taken} of ${limit} ${limit === 1 ? 'seat' : 'seats'} of ${licence === undefined ? 'your account' : `licence ${licence}`} taken`,
  ]);
}

async function runFree(ids: string[], options: CommonOptions & { all?: boolean }): Promise<void> {
  if (ids.length > 0 === (options.all === true)) {
    throw new CliError(EXIT.usage, 'expected seat ids or --all', { hint: 'sls seats list shows them' });
  }
  const out = new Output(options);
  const trust = await currentTrust(() => loadTrust(options), options);
  const freed = await freeSeats(trust, await ownAccessToken(trust), ids, callOptions());
  if (!options.all && freed < ids.length)
    out.warning(`${ids.length - freed} of ${ids.length} were given up already, or are not yours`);
  out.done(`${freed} ${freed === 1 ? 'seat is' : 'seats are'} given up`);
  out.result({ freed }, []);
}
