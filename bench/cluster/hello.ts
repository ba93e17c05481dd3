import { startServer } from '../../runtime/rpc/server';
import { runProgram } from '../../runtime/rpc/program';
import { parseAddress } from '../../runtime/rpc/address';

/** A plain gRPC service in Node: what starts from zero are compared with. */
runProgram({
  load: () => Promise.resolve({ address: parseAddress('http://0.0.0.0:8080'), services: [] }),
  run: async (options) => {
    const server = await startServer(options);
    return () => server.stop();
  },
});
