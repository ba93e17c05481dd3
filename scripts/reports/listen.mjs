// Says the first line of each connection that comes, and ends it; or keeps silent. Its own first line: port PORT.
//   node listen.mjs ADDRESS [PORT] [silent]
import { createServer } from 'node:net';

const [address, port = '0', silent] = process.argv.slice(2);
const server = createServer((socket) => {
  socket.on('error', () => undefined);
  if (silent) return;
  socket.once('data', (bytes) => {
    console.log(bytes.toString('latin1').split('\r\n')[0]);
    socket.destroy();
  });
});
server.listen(Number(port), address, () => console.log(`port ${server.address().port}`));
