import { removeRunFolder } from '../run-folder';

export default function tearDown(): void {
  removeRunFolder(process.env['SLS_TEST_RUN']);
}
