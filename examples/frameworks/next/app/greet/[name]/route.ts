/** Another route, that sends through the same hub. */
import { hub } from "../../../lib/hub";

interface Context {
  params: Promise<{ name: string }>;
}

export async function POST(_request: Request, { params }: Context): Promise<Response> {
  return Response.json(await hub.send((await params).name, "greeting", { from: "Next.js" }));
}
