// Says the first line of each connection that comes, and ends it. Its own first line: port PORT.
//   node listen.mjs ADDRESS
import { createServer } from 'node:net';

const server = createServer((socket) => {
  socket.on('error', () => undefined);
  socket.once('data', (bytes) => {
    console.log(bytes.toString('latin1').split('\r\n')[0]);
    socket.destroy();
  });
});
server.listen(0, process.argv[2], () => console.log(`port ${server.address().port}`));
