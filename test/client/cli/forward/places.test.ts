import { describeTarget, parseForwarding, parseTarget } from '../../../../client/cli/forward/places';

const LOOPBACK = ['127.0.0.1', '::1'];
const port = (number: number, addresses = LOOPBACK, anyPort = false) => ({ addresses, port: number, anyPort });

test.each([
  ['8888', { listen: port(8888, LOOPBACK, true), target: { port: 8888 } }],
  ['9000:80', { listen: port(9000), target: { port: 80 } }],
  ['0:80', { listen: port(0), target: { port: 80 } }],
  ['127.0.0.2:80', { listen: port(80, ['127.0.0.2'], true), target: { port: 80 } }],
  ['127.0.0.2:9000:80', { listen: port(9000, ['127.0.0.2']), target: { port: 80 } }],
  ['[::1]:9000:80', { listen: port(9000, ['::1']), target: { port: 80 } }],
  ['localhost:9000:80', { listen: port(9000), target: { port: 80 } }],
  ['*:9000:80', { listen: port(9000, ['0.0.0.0', '::']), target: { port: 80 } }],
  [':9000:80', { listen: port(9000, ['0.0.0.0', '::']), target: { port: 80 } }],
  ['9000:localhost:80', { listen: port(9000), target: { host: 'localhost', port: 80 } }],
  ['9000:[::1]:80', { listen: port(9000), target: { host: '::1', port: 80 } }],
  ['127.0.0.1:9000:10.0.0.1:80', { listen: port(9000, ['127.0.0.1']), target: { host: '10.0.0.1', port: 80 } }],
  ['./pg.sock:5432', { listen: { socket: './pg.sock' }, target: { port: 5432 } }],
  ['/tmp/a:/tmp/b', { listen: { socket: '/tmp/a' }, target: { socket: '/tmp/b' } }],
  ['/tmp/a:localhost:80', { listen: { socket: '/tmp/a' }, target: { host: 'localhost', port: 80 } }],
  ['9000:./pg.sock', { listen: port(9000), target: { socket: './pg.sock' } }],
])('%s', (text, expected) => {
  expect(parseForwarding(text)).toEqual(expected);
});

test.each([
  '',
  'x',
  '0',
  '65536',
  '80:0',
  '80:65536',
  '80:x',
  '1:2:3:4:5',
  '[::1',
  '::1:80:80',
  './a',
  'host.example:80',
  '-1',
  '80:',
])('%j is a wrong command line', (text) => {
  expect(() => parseForwarding(text)).toThrow(expect.objectContaining({ exitCode: 2 }));
});

test('a target is a port, an address with one, or a path', () => {
  expect(['80', 'localhost:80', './a'].map(parseTarget)).toEqual([
    { port: 80 },
    { host: 'localhost', port: 80 },
    { socket: './a' },
  ]);
  expect([{ port: 80 }, { host: '::1', port: 80 }, { socket: './a' }].map(describeTarget)).toEqual([
    'enclave:80',
    'enclave:[::1]:80',
    'enclave:./a',
  ]);
});
