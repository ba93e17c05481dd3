import { knativeEnclaves } from '../../../../functions/admin/enclaves/knative';
import { FakeApiServer } from '../../../support/fake-api-server';

const COLLECTION = '/apis/serving.knative.dev/v1/namespaces/licensing-enclaves/services';

test("ends the enclaves of the user and nobody else's, as the very objects that were found", async () => {
  const item = (name: string, user: string): object => ({
    metadata: { name, uid: `uid-${name}`, annotations: { 'licensing/user': user } },
  });
  const fake = await FakeApiServer.start(({ method }) =>
    method === 'GET'
      ? {
          body: {
            metadata: {},
            items: [item('enclave-a', 'user-1'), item('enclave-b', 'user-11'), item('enclave-c', 'user-2')],
          },
        }
      : { body: {} },
  );
  try {
    await knativeEnclaves(fake.api(), 'licensing-enclaves').end('user-1');
    expect(fake.requests[0]).toMatchObject({ method: 'GET', path: COLLECTION });
    expect(fake.requests[0]?.query.get('labelSelector')).toBe('app.kubernetes.io/component=enclave');
    const deleted = fake.requests.filter(({ method }) => method === 'DELETE');
    expect(deleted).toMatchObject([
      { path: `${COLLECTION}/enclave-a`, body: { preconditions: { uid: 'uid-enclave-a' } } },
    ]);
  } finally {
    await fake.stop();
  }
});

test('a user without an enclave is no error; an API that refuses is', async () => {
  let forbidden = false;
  const fake = await FakeApiServer.start(() =>
    forbidden ? { status: 403, body: { reason: 'Forbidden' } } : { body: { metadata: {}, items: [] } },
  );
  try {
    const enclaves = knativeEnclaves(fake.api(), 'licensing-enclaves');
    await enclaves.end('user-1');
    forbidden = true;
    await expect(enclaves.end('user-1')).rejects.toMatchObject({ status: 403 });
  } finally {
    await fake.stop();
  }
});

test("a deleted user's volumes go too, after the enclaves, and no other claim in the namespace", async () => {
  const volumes = '/api/v1/namespaces/licensing-enclaves/persistentvolumeclaims';
  const item = (name: string, user: string): object => ({
    metadata: { name, uid: `uid-${name}`, annotations: { 'licensing/user': user } },
  });
  const fake = await FakeApiServer.start(({ method, path }) =>
    method === 'GET'
      ? {
          body: {
            metadata: {},
            items:
              path === volumes
                ? [item('enclave-a', 'user-1'), item('enclave-b', 'user-2'), { metadata: { name: 'attestor-socket' } }]
                : [item('enclave-a', 'user-1')],
          },
        }
      : { body: {} },
  );
  try {
    await knativeEnclaves(fake.api(), 'licensing-enclaves').remove('user-1');
    const deleted = fake.requests.filter(({ method }) => method === 'DELETE').map(({ path }) => path);
    expect(deleted).toEqual([`${COLLECTION}/enclave-a`, `${volumes}/enclave-a`]);
    expect(
      fake.requests
        .filter(({ method }) => method === 'GET')
        .every(({ query }) => query.get('labelSelector') === 'app.kubernetes.io/component=enclave'),
    ).toBe(true);
  } finally {
    await fake.stop();
  }
});
