import type { Command } from 'commander';
import { Argument } from 'commander';
import { rotate, ROTATIONS } from '../../../installation/rotate';
import type { Rotation } from '../../../installation/rotate';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { addPlaceOptions, openKeyStore, trustDomainOf } from './options';
import type { PlaceOptions } from './options';

type Options = PlaceOptions & OutputOptions & { compromised?: boolean };

/** `sls admin rotate WHAT`: replaces a key by overlap, with no service restarted and no login failed. */
export function addRotate(admin: Command): void {
  const command = admin
    .command('rotate')
    .description('replace a key; the old one stays trusted until everything it signed has expired')
    .addArgument(new Argument('<what>', 'key to replace').choices(Object.keys(ROTATIONS)))
    .option(
      '--compromised',
      'drop the old key now, because it is compromised: holders of anything it signed must log in (or enrol) again',
    );
  addPlaceOptions(addOutputOptions(command)).action(run);
  addExample(command, 'sls admin rotate token-key', 'sls admin rotate client-ca --namespace licensing');
}

async function run(what: Rotation, options: Options): Promise<void> {
  const out = new Output(options);
  const store = await openKeyStore(options);
  const { signsFrom, oldUntil, dropped } = await rotate(store, what, {
    trustDomain: await trustDomainOf(store),
    compromised: options.compromised,
  });
  const until = options.compromised
    ? 'the old one is no longer trusted'
    : `the old one is trusted until ${oldUntil.toISOString()}`;
  out.done(
    `${what}: the new one signs from ${signsFrom.toISOString()}, ${until}${dropped > 0 ? `; ${dropped} dropped` : ''}`,
  );
  out.result({ what, signsFrom: signsFrom.toISOString(), oldUntil: oldUntil.toISOString(), dropped }, []);
}
