import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { ChallengePasswordAttribute, Pkcs10CertificateRequestGenerator } from '@peculiar/x509';
import { readRequestKey } from '../../../licensing/authority/request';
import { newKeyPair, P256 } from '../../../runtime/keys/key-pair';

/** A request that holds what it says, however much of that there is. */
async function request(attribute = ''): Promise<Buffer> {
  const { rawData } = await Pkcs10CertificateRequestGenerator.create(
    { keys: await newKeyPair(), signingAlgorithm: P256, attributes: [new ChallengePasswordAttribute(attribute)] },
    webcrypto,
  );
  return Buffer.from(rawData);
}

/** The same with something more at the end of its sequence. */
function withElement(der: Buffer, element: Buffer): Buffer {
  // SEQUENCE, 82: two bytes of length.
  expect(der.subarray(0, 2)).toEqual(Buffer.from([0x30, 0x82]));
  const longer = Buffer.concat([der, element]);
  longer.writeUInt16BE(longer.length - 4, 2);
  return longer;
}

const refusal = (der: Buffer): object => {
  try {
    readRequestKey(der);
    return {};
  } catch (error) {
    const { code, message } = error as Error & { code: string };
    return { code, message };
  }
};
const malformed = { code: 'certificate.csr_malformed', message: 'expected a PKCS#10 request in DER' };

test('a request of 4096 bytes is read, and one of more is not, whoever signed it', async () => {
  const around = (await request('x'.repeat(1000))).length - 1000;
  // A signature takes a byte or two more or less.
  const most = async (bytes: number): Promise<Buffer> => {
    for (;;) {
      const der = await request('x'.repeat(bytes - around));
      if (der.length === bytes) return der;
    }
  };
  expect(refusal(await most(4096))).toEqual({});
  expect(refusal(await most(4097))).toEqual({
    code: 'certificate.csr_malformed',
    message: 'expected a request of 1 to 4096 bytes, got 4097',
  });
});

test('nothing may stand behind the signature, in the request or after it', async () => {
  const der = await request('x'.repeat(200));
  expect(refusal(der)).toEqual({});
  const nothing = Buffer.from([0x05, 0x00]);
  expect(refusal(withElement(der, nothing))).toEqual(malformed);
  expect(refusal(Buffer.concat([der, nothing]))).toEqual(malformed);
});
