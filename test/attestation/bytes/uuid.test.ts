import { isUuid } from '../../../attestation/bytes/uuid';

const UUID = '8c0a5f0e-2f0b-4f7e-9a43-0d5c1b1f7a10';

test('a UUID in lower case, and nothing else', () => {
  expect(isUuid(UUID)).toBe(true);
  for (const other of [
    '',
    UUID.toUpperCase(),
    `0${UUID}`,
    `${UUID}0`,
    ` ${UUID}`,
    `${UUID}\n`,
    UUID.replaceAll('-', ''),
  ])
    expect({ other, is: isUuid(other) }).toEqual({ other, is: false });
});
