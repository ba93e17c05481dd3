import { join } from 'node:path';
import { distFolder } from '../../runtime/config/dist';
import type { Isolation } from './isolation';

/** No walls: an enclave is a process like any other of this user. @param node what runs it */
export function noIsolation(node: string): Isolation {
  return {
    name: 'none',
    description:
      "no walls between enclaves: users' commands can read each other's files and the installation's keys; --isolation bubblewrap puts them up",
    enclose({ folder, workspace, attestorFolder, clientCaFile }) {
      const credential = join(folder, 'credential');
      const readyFile = join(folder, 'ready');
      return Promise.resolve({
        command: [node, join(distFolder(), 'enclave.cjs')],
        enclosed: false,
        readyFile,
        credential: { path: credential, mode: 0o600 },
        settings: {
          ATTESTOR_ADDRESS: `unix:${join(attestorFolder, 'attestor.sock')}`,
          ATTESTOR_CREDENTIAL_FILE: credential,
          CLIENT_CA_FILE: clientCaFile,
          WORKSPACE_DIR: workspace,
          HOME: workspace,
        },
        refresh: () => Promise.resolve(),
      });
    },
  };
}
