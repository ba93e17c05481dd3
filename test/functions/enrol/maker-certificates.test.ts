import { createHash, X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCertificate, verifyChain, verifyPath } from '../../../attestation/certificates/chain';
import type { ParsedCertificate } from '../../../attestation/certificates/chain';
import { completeChain, makePool } from '../../../attestation/certificates/complete-chain';
import { KEY_USAGE } from '../../../attestation/certificates/fields';
import { shippedMakerCertificates } from '../../../functions/enrol/maker-certificates';
import { makeAuthority } from '../../support/authority';

const folder = join(__dirname, '../../../trust/ek-roots');
const files = readdirSync(folder).filter((name) => name.endsWith('.pem'));
/** The cells of each row of the list's table, however wide its columns are. */
const rows = readFileSync(join(folder, 'README.md'), 'utf8')
  .split('\n')
  .filter((line) => /^\|.*`[a-z0-9-]+\.pem`/.test(line))
  .map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  );
const shipped = shippedMakerCertificates();

/** Roots that end within a year belong on this list, with the day when they leave it: an operator then knows beforehand. */
const ENDING: string[] = [];

test('every root that ships is on the list, and no other', () => {
  const listed = rows.map(([, file]) => file);
  expect(listed.sort()).toEqual(files.map((file) => `\`${file}\``).sort());
  expect(shipped.roots).toHaveLength(files.length);
});

test.each(files)('%s: one certificate, self-signed, its fingerprint as listed, not about to end', (file) => {
  const text = readFileSync(join(folder, file), 'utf8');
  expect(text).toMatch(/^-----BEGIN CERTIFICATE-----\n[^-]+-----END CERTIFICATE-----\n$/);
  const certificate = new X509Certificate(text);
  expect(certificate.ca).toBe(true);
  expect(certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey)).toBe(true);
  const fingerprint = createHash('sha256').update(certificate.raw).digest('hex');
  const row = rows.find((cells) => cells[1] === `\`${file}\``) ?? [];
  const day = (text: string): string => new Date(text).toISOString().slice(0, 10);
  expect(row).toContain(`\`${fingerprint}\``);
  expect(row).toContain(`${day(certificate.validFrom)} to ${day(certificate.validTo)}`);
  expect(row.slice(-2)).toEqual([
    expect.stringMatching(/^(<https?:\/\/[^>]+>|not known)$/),
    expect.stringMatching(/^(A|B|A, B|C|D|E)$/),
  ]);
  const soon = Date.now() + 365 * 86_400_000;
  expect({ file, ends: new Date(certificate.validTo).getTime() < soon }).toEqual({ file, ends: ENDING.includes(file) });
});

test('real certificates are listed by hash and source, each maker with a row in the table of what was verified', () => {
  const trust = join(folder, '..');
  const { certificates } = JSON.parse(readFileSync(join(trust, 'real-certificates.json'), 'utf8')) as {
    certificates: { maker: string; sha256: string; source: Record<string, string>; outcome: string }[];
  };
  const table = readFileSync(join(trust, 'README.md'), 'utf8');
  expect(new Set(certificates.map(({ sha256 }) => sha256)).size).toBe(certificates.length);
  for (const { maker, sha256, source, outcome } of certificates) {
    expect(sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(source).toEqual({
      repository: expect.stringMatching(/^[\w.-]+\/[\w.-]+$/),
      commit: expect.stringMatching(/^[0-9a-f]{40}$/),
      path: expect.any(String),
    });
    expect(outcome).toMatch(/^(verified|certificate\.[a-z_]+)$/);
    const row = table.split('\n').find((line) => line.startsWith(`| ${maker} `)) ?? '';
    const verified = certificates.filter((each) => each.maker === maker && each.outcome === 'verified').length;
    expect(row).toContain(`${verified} verified`);
  }
});

describe('intermediates', () => {
  const pool = makePool(shipped.intermediates);

  test.each(
    shipped.intermediates.map((pem): [string, string] => [
      new X509Certificate(pem).subject.replaceAll('\n', ', '),
      pem,
    ]),
  )('%s leads to a root that ships, and may certify keys below it', (_, pem) => {
    const chain = completeChain([new X509Certificate(pem).raw], pool).map((der) => parseCertificate(der, 'maker'));
    expect(() => verifyPath(chain, shipped.roots, new Date(), 'maker')).not.toThrow();
    const { basicConstraints, keyUsage } = (chain[0] as ParsedCertificate).fields;
    expect(basicConstraints?.ca).toBe(true);
    expect((keyUsage ?? 0) & KEY_USAGE.keyCertSign).toBeTruthy();
    expect(chain.length).toBeLessThan(6);
  });
});

describe('completing a chain', () => {
  test('a leaf alone is verified by way of the pool, and no pool makes it trusted', async () => {
    const root = await makeAuthority('root');
    const middle = await makeAuthority('middle', { issuer: root });
    const lower = await makeAuthority('lower', { issuer: middle });
    const leaf = await makeAuthority('leaf', { issuer: lower, ca: false, usages: 1 });
    const der = (authority: { certificate: string }): Buffer => new X509Certificate(authority.certificate).raw;
    const pool = makePool([middle.certificate, lower.certificate]);
    const chain = completeChain([der(leaf)], pool);
    expect(chain).toEqual([leaf, lower, middle].map(der));
    expect(completeChain([der(leaf), der(lower)], pool)).toEqual(chain);
    expect(completeChain([leaf, middle, root, lower].map(der), makePool([]))).toEqual(chain);
    expect(completeChain([der(leaf), Buffer.from('junk')], pool)).toEqual([der(leaf), Buffer.from('junk')]);
    expect(completeChain(Array(17).fill(der(leaf)), pool)).toHaveLength(17);
    expect(completeChain([], pool)).toEqual([]);
    expect(completeChain([Buffer.from('junk')], pool)).toEqual([Buffer.from('junk')]);
    expect(() => verifyChain({ certificates: chain, roots: [root.certificate], now: new Date() })).not.toThrow();
    const other = await makeAuthority('root');
    expect(() => verifyChain({ certificates: chain, roots: [other.certificate], now: new Date() })).toThrowWithCode(
      'certificate.untrusted',
    );
  });

  test('authorities that name each other as issuer end somewhere', async () => {
    const a = await makeAuthority('a');
    const b = await makeAuthority('b', { issuer: a });
    const again = await makeAuthority('a', { issuer: b });
    const chain = completeChain([new X509Certificate(b.certificate).raw], makePool([again.certificate, b.certificate]));
    expect(chain.length).toBeLessThanOrEqual(6);
  });
});
