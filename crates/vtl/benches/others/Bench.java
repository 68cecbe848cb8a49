import java.io.*; import java.util.*;
import org.apache.velocity.*; import org.apache.velocity.app.*;
import org.apache.velocity.context.*;
import org.apache.velocity.runtime.*; import org.apache.velocity.runtime.parser.node.SimpleNode;
import net.minidev.json.*; import net.minidev.json.parser.*;

/** Renders per second of Apache Velocity 1.7 for the template and body that benches/vtl.rs uses, by processor time of this thread. */
public class Bench {
  public static class Input {
    final String body; final Map<String,String> query; Input(String b, Map<String,String> q){ body=b; query=q; }
    public String getBody(){ return body; }
    public String json(String p) throws Exception {
      Object doc=new JSONParser(JSONParser.MODE_PERMISSIVE).parse(body, JSONValue.defaultReader.DEFAULT_ORDERED);
      return JSONValue.toJSONString(doc, JSONStyle.LT_COMPRESS);
    }
    public Object params(String n){ Object v=query.get(n); return v==null?"":v; }
  }
  interface Run { int run() throws Exception; }
  static void time(String name, int n, Run r) throws Exception {
    var bean=java.lang.management.ManagementFactory.getThreadMXBean();
    for(int i=0;i<n;i++) r.run();
    double best=Double.MAX_VALUE;
    for(int k=0;k<5;k++){ long a=bean.getCurrentThreadCpuTime(); int sum=0; for(int i=0;i<n;i++) sum+=r.run(); long b=bean.getCurrentThreadCpuTime(); best=Math.min(best,(b-a)/(double)n); if(sum==42) System.out.print(""); }
    System.out.printf("%-36s %8.3f us  %10.0f/s%n", "velocity "+name, best/1000, 1e9/best);
  }
  public static void main(String[] a) throws Exception {
    StringBuilder body=new StringBuilder("[");
    for(int n=0;n<8;n++) body.append(n>0?",":"").append(String.format("{\"email\":\"user%d@example.com\",\"timestamp\":15134990%02d,\"event\":\"delivered\",\"category\":[\"cat facts\",\"news\"],\"sg_event_id\":\"ZGVsaXZlcmVkLTAtMTM%d\",\"sg_message_id\":\"14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.%d\",\"response\":\"250 OK\",\"attempt\":%d}",n,n,n,n,n));
    body.append("]");
    String raw="{\n\"bucket\": \"$input.params('bucket')\",\n\"app\": \"$input.params('app')\",\n\"token\": \"$input.params('token')\",\n\"validToken\": \"$stageVariables.validToken\",\n\"body\": $input.body\n}\n";
    Properties p=new Properties(); p.setProperty("runtime.log.logsystem.class","org.apache.velocity.runtime.log.NullLogChute"); p.setProperty("velocimacro.library","");
    RuntimeInstance ri=new RuntimeInstance(); ri.init(p);
    VelocityEngine ve=new VelocityEngine(); ve.init(p);
    Map<String,String> q=new LinkedHashMap<>(Map.of("token","s3cret","app","SendGrid","bucket","my-bucket/routeToS3/SendGrid"));
    Map<String,String> sv=Map.of("validToken","s3cret");
    VelocityContext c=new VelocityContext(); c.put("input",new Input(body.toString(),q)); c.put("stageVariables",new LinkedHashMap<>(sv));
    for(String kind: new String[]{"raw","json"}){
      String t= kind.equals("raw")?raw:raw.replace("$input.body","$input.json('$')");
      SimpleNode node=ri.parse(new StringReader(t),"t"); InternalContextAdapterImpl ica=new InternalContextAdapterImpl(c); ica.pushCurrentTemplateName("t"); node.init(ica,ri);
      time(kind, 100000, ()->{ StringWriter w=new StringWriter(4096); InternalContextAdapterImpl x=new InternalContextAdapterImpl(c); x.pushCurrentTemplateName("t"); node.render(x,w); return w.toString().length(); });
      time("parsed each time, "+kind, 20000, ()->{ StringWriter w=new StringWriter(4096); ve.evaluate(c,w,"t",t); return w.toString().length(); });
    }
  }
}
