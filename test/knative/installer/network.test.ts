import { requireOpenDatabase } from '../../../knative/installer/network';

const outside = { overlay: 'external-postgres', network: {} };

test.each([
  ['postgres://u:hidden@db.example/x', {}],
  ['postgres://u:hidden@db.example:5432/x', {}],
  ['postgres://u:hidden@db.example:6432/x', { databasePorts: [5432, 6432] }],
])('a database whose port is open: %s', (url, network) => {
  expect(() => requireOpenDatabase({ ...outside, network }, url)).not.toThrow();
});

test('a database whose port the NetworkPolicies would close is refused by its port, without its password', () => {
  expect(() => requireOpenDatabase(outside, 'postgres://u:hidden@db.example:26257/x')).toThrow(
    /^network.databasePorts: expected 26257, the port of the database URL, among them, got 5432$/,
  );
});

test('that of the cluster is reached by its own policy', () => {
  expect(() => requireOpenDatabase({ overlay: 'hardware-tpm', network: {} }, 'postgres://x@y:1/z')).not.toThrow();
});
