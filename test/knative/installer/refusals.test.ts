import { checkInstallation, PROGRAMS } from '../../../knative/installer/installation';
import type { Draft } from '../../../knative/installer/installation';
import { DANGERS, refusals } from '../../../knative/installer/refusals';
import type { Danger } from '../../../knative/installer/refusals';

const images = Object.fromEntries(PROGRAMS.map((name) => [name, `registry.example/${name}@sha256:${'a'.repeat(64)}`]));
const installationOf = (draft: Draft = {}) => checkInstallation({ overlay: 'hardware-tpm', images, ...draft });
const URL = 'postgres://licensing:secret@postgres.licensing.svc.cluster.local:5432/licensing';
const before = { installation: installationOf(), databaseUrl: URL };

test.each<[string, Draft, string | undefined, Danger]>([
  ['another trust domain', { trustDomain: 'other.example' }, undefined, 'trust-domain'],
  ['a database outside in place of the one in the cluster', { overlay: 'external-postgres' }, undefined, 'database'],
  ['another database URL', {}, 'postgres://other:hidden@db.example/x', 'database'],
])('%s is refused, unless it is asked for by its word', (_, draft, databaseUrl, danger) => {
  const next = installationOf(draft);
  const others = (Object.keys(DANGERS) as Danger[]).filter((word) => word !== danger);
  const refused = refusals(before, next, { databaseUrl, accept: others });
  expect(refused).toEqual([{ danger, message: expect.stringContaining(`--accept ${danger}`) }]);
  expect(refused[0]?.message).not.toMatch(/secret|hidden/);
  expect(refusals(before, next, { databaseUrl, accept: [danger] })).toEqual([]);
});

test('settings that only a newer release knows end by their own word alone', () => {
  const newer = { ...before, unknown: ['mesh', 'settings.login.SHARE'] };
  const refused = refusals(newer, installationOf(), { accept: ['database', 'trust-domain'] });
  expect(refused).toEqual([
    { danger: 'newer-settings', message: expect.stringContaining('(mesh, settings.login.SHARE)') },
  ]);
  expect(refusals(newer, installationOf(), { accept: ['newer-settings'] })).toEqual([]);
});

test('what may change is not refused, nor is a first installation', () => {
  const next = installationOf({ softwareTpm: 'allow', settings: { login: { LICENCE_REQUIRED: 'true' } } });
  expect(refusals(before, next, { databaseUrl: URL, accept: [] })).toEqual([]);
  const first = installationOf({ trustDomain: 'other.example', overlay: 'external-postgres' });
  expect(refusals(undefined, first, { databaseUrl: 'postgres://x', accept: [] })).toEqual([]);
});
