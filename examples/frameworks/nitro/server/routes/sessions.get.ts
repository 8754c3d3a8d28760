/** Who is connected. */
import { defineHandler } from "nitro/h3";
import { hub } from "../lib/hub";

export default defineHandler(() => hub.sessions());
