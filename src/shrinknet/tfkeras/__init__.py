"""Code that runs in a separate process, with tensorflow-model-optimization and the Keras 2 (tf_keras) that it needs.

Importing tensorflow-model-optimization enables Keras 2 for the whole process, so the rest of shrinknet never imports
this package. `python -m shrinknet.tfkeras JOB` runs the job that the folder JOB describes.
"""
