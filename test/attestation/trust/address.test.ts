import { isAddress } from '../../../attestation/trust/address';

test.each([
  'unix:/run/sls/login.sock',
  'http://localhost:7001',
  'http://[::1]:7001',
  'https://login.example',
  'https://login.example/',
  'https://login.example:443',
])('%s is an address', (text) => {
  expect(isAddress(text)).toBe(true);
});

test.each([
  '',
  'login.example:443',
  'login.example',
  'unix:run/login.sock',
  'unix://run/login.sock/'.slice(0, 5),
  'ftp://login.example/',
  'file:///run/login.sock',
  'https://login.example/path',
  'http://login.example/path',
  'https://',
])('%j is none', (text) => {
  expect(isAddress(text)).toBe(false);
});
