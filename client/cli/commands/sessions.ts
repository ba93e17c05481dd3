import type { Command } from 'commander';
import { listSessions, revokeSession } from '../../index';
import { callOptions } from '../call-options';
import { addExample, addOutputOptions, addTrustOptions } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { ownAccessToken } from '../own-tokens';
import { currentTrust } from '../session-file';
import { loadTrust } from '../trust';

/** `sls sessions …`: where one is logged in. */
export function addSessions(program: Command): void {
  const sessions = program.command('sessions').description('manage your sessions');
  const list = sessions.command('list').description('list your sessions on this and other machines');
  addTrustOptions(addOutputOptions(list)).action(runList);
  addExample(list, 'sls sessions list');

  const revoke = sessions
    .command('revoke')
    .description('end a session: it can no longer obtain tokens or certificates')
    .argument('<id>', 'as sls sessions list shows it');
  addTrustOptions(addOutputOptions(revoke)).action(runRevoke);
  addExample(revoke, 'sls sessions revoke 7d4b2f0c-…');
}

async function runList(options: CommonOptions): Promise<void> {
  const trust = await currentTrust(() => loadTrust(options), options);
  const sessions = await listSessions(trust, await ownAccessToken(trust), callOptions());
  new Output(options).result(
    sessions,
    sessions.map(
      ({ session, createdAt, lastUsedAt, clientName, clientAddress, current }) =>
        `${session}  ${clientName || '-'} (${clientAddress})  since ${createdAt.toISOString()}, used ${lastUsedAt.toISOString()}${current ? '  this one' : ''}`,
    ),
  );
}

async function runRevoke(id: string, options: CommonOptions): Promise<void> {
  const out = new Output(options);
  const trust = await currentTrust(() => loadTrust(options), options);
  await revokeSession(trust, await ownAccessToken(trust), id, callOptions());
  out.done(`session ${id} is ended`);
  out.result({ session: id, ended: true }, []);
}
