import { makeRunFolder } from '../run-folder';

export default function setUp(): void {
  makeRunFolder();
}
