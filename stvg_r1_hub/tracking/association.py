import numpy as np
from stvg_r1_hub.geometry import box_iou, box_area
from stvg_r1_hub.tracking.stitching import Tracklet
def link(observed, rate, start=0.45, miou=0.5, lost=0.2):
    """observed: list of (frame,time,boxes,scores,class_ids,looks)."""
    import supervision as sv
    from trackers import ByteTrackTracker
    T=ByteTrackTracker(frame_rate=rate,track_activation_threshold=start,high_conf_det_threshold=start,minimum_consecutive_frames=1,minimum_iou_threshold=miou,lost_track_buffer=max(1,round(lost*30)))
    by={}; loose=[]
    for n,(f,t,b,s,c,l) in enumerate(observed):
        o=T.update(sv.Detections(xyxy=b,confidence=s,class_id=c,data={'index':np.arange(len(b))}),timestamp=t)
        if len(o)==0: continue
        for i,k in zip(o.tracker_id,o.data['index']):
            if i>=0: by.setdefault(int(i),[]).append((n,int(k)))
            elif s[k]>=start: loose.append([(n,int(k))])
    out=[]
    for ref in list(by.values())+loose:
        out.append(make(observed,ref))
    out.sort(key=lambda x:(x.frames[0],x.boxes[0].tolist()))
    return out
def make(observed,ref):
    cols=[]
    for n,k in ref:
        f,t,b,s,c,l=observed[n]
        o=np.delete(b,k,0)
        w=np.clip(np.minimum(o[:,2:],b[k,2:])-np.maximum(o[:,:2],b[k,:2]),0,None).prod(1)/box_area(b[k])
        cols.append((f,t,b[k],s[k],c[k],l[k],1-min(1,w.max()) if len(w) else 1.))
    F,t,b,s,c,l,cl=zip(*cols)
    return Tracklet(np.array(F),np.array(t,float),np.array(b,float),np.array(s,float),np.array(c),np.array(l,np.float32),np.array(cl,float))
