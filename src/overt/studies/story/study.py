class Story: pass
study=None
