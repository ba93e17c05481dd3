import { connect } from '../../client/index';
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
