import { connect } from '../../client/index';
import { startCommand } from '../support/remote-command';
import { MovedClock } from '../support/clock';
import { startEnclaveFixture } from '../support/enclave';
import { eventually } from '../support/eventually';

const IDLE_SECONDS = 600;

test('an enclave that nobody has been connected to for IDLE_SECONDS says so, and not while somebody is', async () => {
  const clock = new MovedClock();
  let idle = 0;
  const fixture = await startEnclaveFixture({ clock, settings: { IDLE_SECONDS }, onIdle: () => idle++ });
  const connection = await connect(fixture.trust, await fixture.session());
  clock.advance(2 * IDLE_SECONDS * 1000);
  expect(idle).toBe(0);
  connection.close();
  await eventually(() => {
    clock.advance(IDLE_SECONDS * 1000);
    return idle > 0;
  });
  await fixture.stop();
});

test.each([
  ['is ended by its signal', 'exec sleep 1000', undefined],
  ['makes a success of its signal', 'trap "exit 0" TERM; while :; do sleep 0.05; done', undefined],
  ['ignores its signal', 'trap "" TERM; while :; do sleep 0.05; done', undefined],
  ['has a terminal', 'sleep 1000', { columns: 80, rows: 24 }],
])(
  'a command that %s is told apart from one that ended by itself, when the enclave is stopped',
  async (_, command, terminal) => {
    const fixture = await startEnclaveFixture();
    const connection = await connect(fixture.trust, await fixture.session());
    const running = startCommand(connection, ['sh', '-c', `echo ready; ${command}`], { terminal });
    const ended = startCommand(connection, ['sh', '-c', 'exit 3']);
    await running.shows('ready');
    expect(await ended.exit).toEqual({ code: 3, signal: '' });
    const stopped = fixture.stop();
    await expect(running.exit).toRejectWithCode('enclave.stopped');
    await stopped;
  },
);
