import { certificateDer, certificatePem, splitCertificates } from '../../../attestation/certificates/pem';

const pem = (body: string): string => `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`;

test('a certificate is read as it was written, the first one of several', () => {
  const [one, two] = [Buffer.alloc(100, 1), Buffer.alloc(3, 2)];
  const both = `text before\n${certificatePem(one)}text between\n${certificatePem(two)}`;
  expect(certificateDer(both)).toEqual(one);
  expect(splitCertificates(both).map(certificateDer)).toEqual([one, two]);
});

test.each(['', 'no certificate', pem(''), pem('!AAAA'), pem('AA!AA'), pem('AAAA!'), pem('AAA====')])(
  '%j is none',
  (text) => {
    expect(() => certificateDer(text)).toThrow(TypeError);
  },
);
