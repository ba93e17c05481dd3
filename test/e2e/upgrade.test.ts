import { enclaves, eventually, kubectl } from './support/cluster';
import { installWith } from './support/install';
import { Person } from './support/person';
import { digestOf, imageOf, setting } from './support/settings';

const next = setting('SLS_IMAGES').includes('enclave-next=');
if (!next) console.error('upgrade: not tested, SLS_IMAGES has no enclave-next');
const grace = new Person();
afterAll(() => grace.leave());

(next ? describe : describe.skip)('the installation is brought to another enclave image', () => {
  afterAll(() => installWith(setting('SLS_IMAGES')));

  test('the next login has an enclave of it, verified; a session that is open goes on', async () => {
    await grace.signup();
    await grace.login();
    const { user, claims } = await grace.status();
    expect(claims.image).toBe(digestOf('enclave'));

    const open = grace.sls(['exec', '--', 'sh', '-c', 'sleep 75; echo done']);
    await installWith(
      setting('SLS_IMAGES').replace(`enclave=${imageOf('enclave')}`, `enclave=${imageOf('enclave-next')}`),
    );
    // Another machine of hers: the session that is open keeps its own state.
    const elsewhere = new Person(grace.username);
    try {
      await elsewhere.login();
      expect((await elsewhere.status()).claims).toMatchObject({ user, image: digestOf('enclave-next') });
      expect((await elsewhere.do(['exec', '--', 'echo', 'ok'])).stdout).toBe('ok\n');
      expect(await enclaves(user)).toHaveLength(1);
      expect(await open).toMatchObject({ code: 0, stdout: 'done\n' });
    } finally {
      await elsewhere.leave();
    }
    await eventually(
      'the old revision has no pod',
      async () => {
        const images = await kubectl([
          'get',
          'pods',
          '-n',
          'licensing-enclaves',
          '-o',
          'jsonpath={.items[*].spec.containers[*].image}',
        ]);
        return !images.includes(digestOf('enclave'));
      },
      120,
    );
  });
});
