import 'reflect-metadata';
import { SubjectAlternativeNameExtension } from '@peculiar/x509';
import type { JsonGeneralName } from '@peculiar/x509';
import {
  certificateIdentity,
  formatClientIdentity,
  parseClientIdentity,
} from '../../../attestation/certificates/client-identity';
import { makeAuthority, makeLeaf } from '../../support/authority';

const identity = { trustDomain: 'sls.test', user: 'user-1', session: 'session-1' };
const URI = 'spiffe://sls.test/user/user-1/session/session-1';

test('an identity is read as it was written', () => {
  expect(formatClientIdentity(identity)).toBe(URI);
  expect(parseClientIdentity(URI)).toEqual(identity);
});

test.each([
  '',
  'anything',
  `x${URI}`,
  `${URI}/`,
  `${URI}/more`,
  'spiffe://sls.test!/user/a/session/b',
  'spiffe://!sls.test/user/a/session/b',
  'spiffe://SLS.test/user/a/session/b',
  'spiffe://sls.test/user/a!/session/b',
  'spiffe://sls.test/user/.a/session/b',
  'spiffe://sls.test/user/a/session/b%2f',
  'spiffe://sls.test/user//session/b',
  'spiffe://sls.test/user/a',
])('%j is no identity', (uri) => {
  expect(parseClientIdentity(uri)).toBeUndefined();
});

test.each([{ trustDomain: 'sls/test' }, { user: 'a/b' }, { session: '' }])('%j can not stand in one', (change) => {
  expect(() => formatClientIdentity({ ...identity, ...change })).toThrow(TypeError);
});

test('of a certificate it is the only alternative name, and a URI', async () => {
  const ca = await makeAuthority('client CA');
  const read = async (...names: JsonGeneralName[]): Promise<string | undefined> =>
    certificateIdentity(await makeLeaf(ca, { extensions: [new SubjectAlternativeNameExtension(names)] }));
  const uri: JsonGeneralName = { type: 'url', value: URI };
  expect(await read(uri)).toBe(URI);
  expect(await read(uri, { type: 'url', value: `${URI}2` })).toBeUndefined();
  expect(await read(uri, { type: 'dns', value: 'sls.test' })).toBeUndefined();
  expect(await read({ type: 'dns', value: URI })).toBeUndefined();
  expect(certificateIdentity(Buffer.from('no certificate'))).toBeUndefined();
});
