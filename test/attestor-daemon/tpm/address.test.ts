import { parseTpmAddress } from '../../../attestor-daemon/tpm/address';

test.each([
  ['device:/dev/tpmrm0', { kind: 'device', path: '/dev/tpmrm0' }],
  [
    'swtpm:path=/run/tpm.sock',
    { kind: 'swtpm', data: { path: '/run/tpm.sock' }, control: { path: '/run/tpm.sock.ctrl' } },
  ],
  [
    'swtpm:host=::1,port=4000',
    { kind: 'swtpm', data: { host: '::1', port: 4000 }, control: { host: '::1', port: 4001 } },
  ],
  [
    'swtpm:port=4000',
    { kind: 'swtpm', data: { host: 'localhost', port: 4000 }, control: { host: 'localhost', port: 4001 } },
  ],
  ['mssim:host=tpm.example', { kind: 'mssim', data: { host: 'tpm.example', port: 2321 } }],
])('%s is spoken', (tcti, address) => {
  expect(parseTpmAddress(tcti)).toEqual(address);
});

test.each([
  'device',
  'device:tpm0',
  'swtpm',
  'swtpm:path=tpm.sock',
  'swtpm:path=/a,port=1',
  'swtpm:port=0',
  'swtpm:port=65535',
  'swtpm:port=1e3',
  'swtpm:port=1,port=2',
  'swtpm:port=1,socket=2',
  'swtpm:host=',
  'mssim:path=/run/tpm.sock',
  'tabrmd:bus_name=com.intel.tss2.Tabrmd',
  'cmd:exec swtpm:path=/a',
  'libtss2-tcti-device.so.0:/dev/tpmrm0',
])('%s is left to tpm2-tools', (tcti) => {
  expect(parseTpmAddress(tcti)).toBeUndefined();
});
